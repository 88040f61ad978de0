use std::error::Error;

/// An error with its causes, as one line for people.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot {doing}")]
    struct Failed {
        doing: &'static str,
        source: Option<Box<Failed>>,
    }

    #[test]
    fn each_cause_follows_what_it_has_caused() {
        let cause = Failed { doing: "open the file", source: None };
        let error = Failed { doing: "read the records", source: Some(Box::new(cause)) };
        assert_eq!(with_causes(&error), "cannot read the records: cannot open the file");
    }
}
