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

/// A text of at most [`EVENT_TEXT_CHARS_MAX`] characters, none of them a control character, which could steer a
/// terminal that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventText(Box<str>);

impl EventText {
    /// The beginning of a text, with U+FFFD in the place of each control character.
    pub fn cut(text: &str) -> Self {
        let shown = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        Self(text.chars().take(EVENT_TEXT_CHARS_MAX).map(shown).collect())
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

    #[test]
    fn a_text_has_no_control_characters() {
        assert_eq!(
            EventText::cut("/v2/\u{9b}31m\u{1b}[0m\n\u{7f}x\u{a0}é").as_str(),
            "/v2/\u{fffd}31m\u{fffd}[0m\u{fffd}\u{fffd}x\u{a0}é"
        );
    }
}
