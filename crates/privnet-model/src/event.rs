use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::{KeyId, OperationId, OrganizationId, Timestamp};

/// What somebody has changed, or was refused to: what the audit log is made of.
///
/// It has nothing of a request's body or headers, in which there are secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was decided. A log's times never go back.
    pub at: Timestamp,
    /// Where the request came from.
    pub source: IpAddr,
    /// What it was signed with; `None` where nobody knows.
    pub key: Option<KeyId>,
    /// Who may read of it beside operators.
    pub organization: Option<OrganizationId>,
    /// The API's name of what was asked for, such as `create-private-network`.
    pub call: Cow<'static, str>,
    /// The path of the request, without its query, up to [`EVENT_TEXT_CHARS_MAX`].
    pub path: EventText,
    /// What was answered, as HTTP says it.
    pub status: u16,
    /// What the hosts make of it; `None` where nothing was changed on any.
    pub operation: Option<OperationId>,
    /// Why it was refused; `None` if it was not.
    pub message: Option<EventText>,
    /// How often it has happened since the event before that is like it: refusals may be gathered.
    pub times: NonZeroU32,
}

/// How many characters of a text an event keeps.
pub const EVENT_TEXT_CHARS_MAX: usize = 500;

/// A text of at most [`EVENT_TEXT_CHARS_MAX`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText(Box<str>);

impl EventText {
    /// The beginning of a text.
    pub fn cut(text: &str) -> Self {
        let end = text.char_indices().nth(EVENT_TEXT_CHARS_MAX).map_or(text.len(), |(end, _)| end);
        Self(text[..end].into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "é".repeat(EVENT_TEXT_CHARS_MAX + 1);
        assert_eq!(EventText::cut(&long).as_str(), "é".repeat(EVENT_TEXT_CHARS_MAX));
        assert_eq!(EventText::cut("short").as_str(), "short");
    }
}
