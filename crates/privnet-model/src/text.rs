use std::fmt;

use crate::SortedMap;

/// The most characters a name or description has (official OpenAPI document: `maxLength` 255).
pub const TEXT_CHARS_MAX: usize = 255;

/// Labels of a resource: any keys, any values (official OpenAPI document: `additionalProperties: string`).
pub type Labels = SortedMap<String, String>;

/// A text breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has no characters.
    #[error("must not be empty")]
    Empty,
    /// It has more than [`TEXT_CHARS_MAX`] characters.
    #[error("has {0} characters, at most {max} are allowed", max = TEXT_CHARS_MAX)]
    TooLong(usize),
    /// It has a control character, which would break a terminal or a log line.
    #[error("has the control character U+{code:04X} at position {position}", code = *character as u32)]
    Control {
        /// The character.
        character: char,
        /// Where it stands, in characters from 0.
        position: usize,
    },
}

/// A network's or instance's name: 1 to 255 characters, no control characters. Names are not unique.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// That of an instance which was given none.
    pub fn of_instance(id: crate::InstanceId) -> Self {
        Self(format!("instance-{id}").into())
    }
}

impl TryFrom<&str> for Name {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        check(text).map(|()| Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A network's description: 0 to 255 characters, no control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description(Box<str>);

impl Description {
    /// The text, which may be empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Description {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        check(text).map(|()| Self(text.into()))
    }
}

fn check(text: &str) -> Result<(), TextError> {
    let count = text.chars().count();
    if count > TEXT_CHARS_MAX {
        return Err(TextError::TooLong(count));
    }
    match text.chars().enumerate().find(|(_, c)| c.is_control()) {
        Some((position, character)) => Err(TextError::Control { character, position }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_characters() {
        assert_eq!(Name::try_from(""), Err(TextError::Empty));
        assert!(Name::try_from("é".repeat(255).as_str()).is_ok());
        assert_eq!(Name::try_from("x".repeat(256).as_str()), Err(TextError::TooLong(256)));
    }

    #[test]
    fn a_description_may_be_empty() {
        assert_eq!(Description::try_from(""), Ok(Description::default()));
        assert_eq!(Description::try_from("x".repeat(256).as_str()), Err(TextError::TooLong(256)));
    }

    #[test]
    fn control_characters_are_refused_with_their_place() {
        let refusal = TextError::Control { character: '\n', position: 2 };
        assert_eq!(Name::try_from("ab\ncd"), Err(refusal.clone()));
        assert_eq!(refusal.to_string(), "has the control character U+000A at position 2");
    }
}
