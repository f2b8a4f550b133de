//! A terminal with the control sequences that the program uses, and its picture.

use std::fmt::Write;
use std::time::Duration;

/// The shortest frame that is kept: shorter ones are parts of a redrawn line.
const SHORTEST: Duration = Duration::from_millis(50);

/// How long the last frame is shown before the recording starts again.
const LAST: Duration = Duration::from_secs(5);

/// The width of a character, the height of a line and the margin, in pixels.
const CHARACTER: f64 = 8.4;
const LINE: usize = 20;
const MARGIN: usize = 14;

/// The text on a terminal.
pub struct Screen {
    columns: usize,
    done: Vec<String>,
    line: Vec<char>,
    column: usize,
}

impl Screen {
    /// An empty terminal.
    pub fn new(columns: usize) -> Screen {
        Screen { columns, done: Vec::new(), line: Vec::new(), column: 0 }
    }

    /// Prints text with `\r`, `\n` and ESC [ K, which erases to the end of the line.
    pub fn print(&mut self, text: &str) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("\x1b[K") {
                self.line.truncate(self.column);
                rest = after;
                continue;
            }
            rest = &rest[first.len_utf8()..];
            match first {
                '\r' => self.column = 0,
                '\n' => self.end_line(),
                _ => self.put(first),
            }
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.columns {
            self.end_line();
        }
        match self.line.get_mut(self.column) {
            Some(place) => *place = character,
            None => self.line.push(character),
        }
        self.column += 1;
    }

    fn end_line(&mut self) {
        self.done.push(std::mem::take(&mut self.line).into_iter().collect());
        self.column = 0;
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let line: String = self.line.iter().collect();
        self.done.iter().cloned().chain([line]).collect()
    }
}

/// The content of the terminal from a certain time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The start time.
    pub at: Duration,
    /// The lines.
    pub lines: Vec<String>,
}

/// An animated picture that shows the frames repeatedly. Where animation is off, it shows the last
/// frame.
pub fn svg(frames: &[Frame], columns: usize, rows: usize) -> String {
    let frames = shown(frames);
    let end = frames.last().map_or(Duration::ZERO, |frame| frame.at) + LAST;
    let width = (columns as f64 * CHARACTER) as usize + 2 * MARGIN;
    let height = rows * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n\
         <title>rackconnect wait, recorded</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e1e2a\"/>\n\
         <g font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\" \
         fill=\"#e6e6e6\" xml:space=\"preserve\">\n"
    );
    for (index, frame) in frames.iter().enumerate() {
        let is_last = index + 1 == frames.len();
        let until = frames.get(index + 1).map_or(end, |next| next.at);
        let part = |time: Duration| time.as_secs_f64() / end.as_secs_f64();
        let (from, to) = (part(frame.at), part(until));
        let display = if is_last { "inline" } else { "none" };
        let _ = writeln!(
            svg,
            "<g display=\"{display}\"><animate attributeName=\"display\" calcMode=\"discrete\" \
             repeatCount=\"indefinite\" dur=\"{:.1}s\" values=\"none;inline;none\" \
             keyTimes=\"0;{from:.4};{to:.4}\"/>",
            end.as_secs_f64()
        );
        let skipped = frame.lines.len().saturating_sub(rows);
        for (row, line) in frame.lines.iter().skip(skipped).enumerate() {
            let y = MARGIN + row * LINE + 14;
            let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", escaped(line));
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The frames that are long enough to see.
fn shown(frames: &[Frame]) -> Vec<Frame> {
    let mut shown: Vec<Frame> = Vec::new();
    for frame in frames {
        match shown.last_mut() {
            Some(last) if last.lines == frame.lines => {}
            Some(last) if frame.at - last.at < SHORTEST && last.at > Duration::ZERO => {
                last.lines.clone_from(&frame.lines);
            }
            _ => shown.push(frame.clone()),
        }
    }
    shown
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_drawn_again() {
        let mut screen = Screen::new(20);
        screen.print("$ wait\nfirst and long");
        screen.print("\r\x1b[Ksecond");
        assert_eq!(screen.lines(), ["$ wait", "second"]);
        screen.print("\r\x1b[KDEPLOYED\r\n");
        assert_eq!(screen.lines(), ["$ wait", "DEPLOYED", ""]);
        screen.print("123456789012345678901");
        assert_eq!(screen.lines()[2..], ["12345678901234567890", "1"]);
    }

    #[test]
    fn short_frames_are_left_out() {
        let frame = |millis, line: &str| Frame {
            at: Duration::from_millis(millis),
            lines: vec![line.to_owned()],
        };
        let frames = [frame(0, "a"), frame(500, ""), frame(501, "b"), frame(900, "b")];
        assert_eq!(shown(&frames), [frame(0, "a"), frame(500, "b")]);
        let svg = svg(&frames, 10, 2);
        assert!(svg.contains(">b</text>") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("display=\"inline\"").count(), 1);
    }
}
