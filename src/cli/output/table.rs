//! Rows under headings, with aligned columns, fitted to the available width.

use std::fmt::Write as _;

/// Minimum width of a column that gives way, in characters.
const LEAST: usize = 16;

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// A text for each column.
    pub cells: Vec<String>,
    /// Further lines below it.
    pub below: Vec<String>,
}

impl From<Vec<String>> for Row {
    fn from(cells: Vec<String>) -> Self {
        Self {
            cells,
            below: Vec::new(),
        }
    }
}

/// Which column gives way if a table is wider than the terminal, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivesWay {
    /// No column gives way.
    None,
    /// This column is cut.
    Cut(usize),
    /// This column continues in further lines. The table is at most this many columns wide, however
    /// wide the terminal is.
    Wrap(usize, usize),
}

/// The lines of a table, the headings first.
pub(super) fn layout(
    headings: &[&str],
    rows: Vec<Row>,
    gives_way: GivesWay,
    room: Option<usize>,
) -> Vec<String> {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let (column, room) = match gives_way {
        GivesWay::None => (None, None),
        GivesWay::Cut(column) => (Some(column), room),
        GivesWay::Wrap(column, most) => (Some(column), room.map(|room| room.min(most))),
    };
    let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    if let (Some(room), Some(width)) = (room, column.and_then(|column| widths.get_mut(column))) {
        let over = total.saturating_sub(room);
        *width = width.saturating_sub(over).max(LEAST.min(*width));
    }
    let mut lines = vec![line(headings.iter().copied(), &widths)];
    for row in rows {
        let parts: Vec<Vec<String>> = row
            .cells
            .into_iter()
            .zip(&widths)
            .map(|(cell, width)| fitted(cell, *width, gives_way))
            .collect();
        let height = parts.iter().map(Vec::len).max().unwrap_or(0);
        for index in 0..height {
            let cells = parts
                .iter()
                .map(|part| part.get(index).map_or("", String::as_str));
            lines.push(line(cells, &widths));
        }
        lines.extend(row.below.into_iter().map(|text| format!("    {text}")));
    }
    lines
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    line.trim_end().to_owned()
}

/// A cell in a column of this width.
fn fitted(cell: String, width: usize, gives_way: GivesWay) -> Vec<String> {
    let characters: Vec<char> = cell.chars().collect();
    if characters.len() <= width {
        return vec![cell];
    }
    if let GivesWay::Wrap(..) = gives_way {
        return characters
            .chunks(width.max(1))
            .map(|chunk| chunk.iter().collect())
            .collect();
    }
    let kept = characters.iter().take(width.saturating_sub(1));
    vec![kept.chain(&['…']).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let text = "a text that is longer than what is left for it";
        let row = |cells: [&str; 3]| Row::from(cells.map(str::to_owned).to_vec());
        let mut first = row(["inbox/1", text, "3"]);
        first.below.push("it waits".to_owned());
        vec![first, row(["inbox/2", "short", "4"])]
    }

    fn shown(gives_way: GivesWay, room: Option<usize>) -> Vec<String> {
        layout(&["ID", "TEXT", "BLOCK"], rows(), gives_way, room)
    }

    #[test]
    fn one_column_gives_way_to_the_room_that_there_is() {
        let whole = shown(GivesWay::Cut(1), None);
        assert_eq!(whole, shown(GivesWay::None, Some(30)));
        assert_eq!(whole[2], "    it waits");
        let cut = shown(GivesWay::Cut(1), Some(40));
        assert_eq!(
            cut,
            [
                "ID       TEXT                      BLOCK",
                "inbox/1  a text that is longer t…  3",
                "    it waits",
                "inbox/2  short                     4",
            ]
        );
        assert!(cut.iter().all(|line| line.chars().count() <= 40));
        let wrapped = shown(GivesWay::Wrap(1, 40), Some(500));
        assert_eq!(wrapped[1], "inbox/1  a text that is longer th  3");
        assert_eq!(wrapped[2], "         an what is left for it");
        assert_eq!(wrapped.len(), 5);
        // The column never becomes too narrow to read.
        let narrow = shown(GivesWay::Cut(1), Some(5));
        assert!(narrow[1].contains("a text that is …"), "{narrow:?}");
    }
}
