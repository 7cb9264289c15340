//! A collector of traces: it takes OTLP over HTTP, and decodes it by hand, so that it shares no code
//! with the tested program.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    /// The service of the process that recorded it.
    pub(crate) service: String,
    pub(crate) schema: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first span of a trace.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 1 internal, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) attributes: HashMap<String, String>,
    /// Whether its status is an error.
    pub(crate) failed: bool,
}

/// A running collector.
pub(crate) struct Collector {
    pub(crate) url: String,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    /// All that was received, headers too.
    bytes: Vec<u8>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::<Mutex<Taken>>::default();
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { url, taken }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap().spans.clone()
    }

    /// Whether a text occurs in anything that was received.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        let taken = self.taken.lock().unwrap();
        let (bytes, text) = (&taken.bytes, text.as_bytes());
        bytes.windows(text.len()).any(|window| window == text)
    }
}

fn serve(stream: TcpStream, taken: &Mutex<Taken>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some((head, body))) = request(&mut reader) {
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        let mut taken = taken.lock().unwrap();
        taken.bytes.extend_from_slice(head.as_bytes());
        taken.bytes.extend_from_slice(&body);
        taken.spans.extend(spans(&body));
        drop(taken);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
                      content-length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The next request; none at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} is not of bytes"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn hex(&self) -> String {
        self.bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => panic!("not a number"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The fields of a message, with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at(length);
            bytes = rest;
            taken
        };
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes).try_into().unwrap();
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(taken)
            }
            5 => Field::Number(u32::from_le_bytes(take(4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn all<'a>(bytes: &'a [u8], number: u64) -> impl Iterator<Item = Field<'a>> {
    let fields = fields(bytes).into_iter();
    fields.filter_map(move |(found, field)| (found == number).then_some(field))
}

/// An attribute.
fn attribute(bytes: &[u8]) -> (String, String) {
    let key = all(bytes, 1).next().unwrap().text();
    let value = all(bytes, 2).next().unwrap();
    let (number, value) = fields(value.bytes()).pop().unwrap();
    let value = match number {
        1 => value.text(),
        4 => f64::from_bits(value.number()).to_string(),
        _ => value.number().to_string(),
    };
    (key, value)
}

/// The spans of an ExportTraceServiceRequest (opentelemetry/proto/trace/v1/trace.proto).
fn spans(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in all(request, 1) {
        let of_resource = all(resource_spans.bytes(), 1)
            .flat_map(|resource| {
                let attributes = all(resource.bytes(), 1);
                attributes
                    .map(|field| attribute(field.bytes()))
                    .collect::<Vec<_>>()
            })
            .collect::<HashMap<_, _>>();
        for scope_spans in all(resource_spans.bytes(), 2) {
            let schema = all(scope_spans.bytes(), 3).next();
            let schema = schema.map(|field| field.text()).unwrap_or_default();
            for span in all(scope_spans.bytes(), 2) {
                let mut read = Span {
                    service: of_resource["service.name"].clone(),
                    schema: schema.clone(),
                    ..Span::default()
                };
                for (number, field) in fields(span.bytes()) {
                    match number {
                        1 => read.trace = field.hex(),
                        2 => read.id = field.hex(),
                        4 => read.parent = field.hex(),
                        5 => read.name = field.text(),
                        6 => read.kind = field.number(),
                        7 => read.began = field.number(),
                        8 => read.ended = field.number(),
                        9 => read.attributes.extend([attribute(field.bytes())]),
                        15 => {
                            let code = all(field.bytes(), 3).next();
                            read.failed = code.is_some_and(|code| code.number() == 2);
                        }
                        _ => {}
                    }
                }
                spans.push(read);
            }
        }
    }
    spans
}
