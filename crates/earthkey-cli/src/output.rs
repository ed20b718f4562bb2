//! Standard output is data only; how words look depends on where they go.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use clap::ValueEnum;
use serde_json::Value;

use crate::failure::Failure;

/// When colour is used.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How a command writes.
pub(crate) struct Output {
    /// Whether data is JSON.
    pub(crate) json: bool,
    /// How words look on standard output.
    pub(crate) stdout: Paint,
    /// How words look on standard error.
    pub(crate) stderr: Paint,
}

impl Output {
    pub(crate) fn new(color: Color, json: bool) -> Self {
        let paint = |is_terminal: bool| Paint {
            on: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => {
                    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                }
            },
        };
        Self { json, stdout: paint(io::stdout().is_terminal()), stderr: paint(io::stderr().is_terminal()) }
    }

    /// Writes a line of data.
    #[expect(clippy::unused_self, reason = "all that a command writes goes through its output")]
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
        Ok(())
    }

    /// Writes a JSON document, indented on a terminal.
    pub(crate) fn document(&self, document: &Value) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(document)
        } else {
            serde_json::to_string(document)
        };
        self.line(&text.map_err(io::Error::other)?)
    }
}

/// Colour, or none. Meaning never depends on it.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What a camera reads must not depend on the terminal's own colours.
    pub(crate) fn black_on_white(self, text: &str) -> String {
        self.paint("38;5;16;48;5;231", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A text, and how it looks.
pub(crate) type Cell = (String, Option<fn(Paint, &str) -> String>);

/// Lays rows out in columns.
pub(crate) fn table(header: &[&str], rows: &[Vec<Cell>], paint: Paint) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].0.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut lines = vec![
        header
            .iter()
            .zip(&widths)
            .map(|(title, width)| paint.bold(&format!("{title:width$}")))
            .collect::<Vec<_>>()
            .join("  "),
    ];
    for row in rows {
        let cells = row.iter().zip(&widths).map(|((text, style), width)| {
            let padded = format!("{text:width$}");
            style.map_or(padded.clone(), |style| style(paint, &padded))
        });
        lines.push(cells.collect::<Vec<_>>().join("  "));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Says how long something lasts, in the largest unit that fits.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = vec![
            vec![("oidc/work".into(), None), ("valid".into(), None)],
            vec![("openeo".into(), None), ("expired".into(), None)],
        ];
        insta::assert_snapshot!(table(&["LOGIN", "STATE"], &rows, Paint { on: false }), @r"
        LOGIN      STATE
        oidc/work  valid
        openeo     expired
        ");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [30, 119, 3599, 7200, 172_800].map(duration),
            ["30 s", "119 s", "60 min", "2 h", "2 days"]
        );
    }
}
