//! The part of a response that is recorded in `status.json`.

use super::{details, gateway, status};
use crate::model::{Format, Operation, Status};
use crate::state::status_file::Learned;

/// The result to be recorded from a response, if any.
pub fn learned(
    operation: Operation,
    format: Format,
    status_code: u16,
    body: &[u8],
) -> Option<Learned> {
    let word = |status: Status| Learned::Status(Some(status.word().to_owned()));
    match (operation, status_code) {
        (Operation::Status | Operation::Details, 404) => Some(Learned::Status(None)),
        (Operation::Gateway, 404) => Some(Learned::Gateway(None)),
        (Operation::Status, 200) => status(body, format).ok().map(word),
        (Operation::Details, 200) => details(body).ok().and_then(|(status, _)| status).map(word),
        (Operation::Gateway, 200) => {
            gateway(body).ok().map(|address| Learned::Gateway(Some(address)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_understood_responses_are_recorded() {
        let text =
            |operation, status_code, body| learned(operation, Format::Text, status_code, body);
        assert_eq!(
            text(Operation::Status, 200, b"deployed"),
            Some(Learned::Status(Some("DEPLOYED".to_owned())))
        );
        assert_eq!(text(Operation::Status, 200, b"<html>"), None);
        assert_eq!(text(Operation::Status, 404, b""), Some(Learned::Status(None)));
        assert_eq!(text(Operation::Status, 500, b""), None);
        assert_eq!(text(Operation::Gateway, 404, b""), Some(Learned::Gateway(None)));
        assert_eq!(text(Operation::Features, 200, b"{}"), None);
    }
}
