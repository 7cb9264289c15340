//! Tables of text.

/// Prints rows under their headings. The first column, and those that are not numbers, are on the left.
pub(super) fn print(headings: &[&str], rows: &[Vec<String>]) {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells
            .chain([headings[at].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let cells = cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    println!("{}", line(headings));
    for row in rows {
        let cells: Vec<_> = row.iter().map(String::as_str).collect();
        println!("{}", line(&cells));
    }
}
