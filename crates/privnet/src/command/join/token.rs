//! Where the token of an invitation comes from. It is no flag: what stands there is shown to everybody on the machine
//! by `ps`, and kept by what logs the commands that are run.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use privnet_agent::Secret;

use crate::exit::{Exit, Failure};

/// Several times what a token has.
const LINE_OCTETS_MAX: usize = 256;

/// The first line of a file, or of standard input, where a person is asked for it.
pub(super) fn read(file: Option<&Path>) -> Result<Secret, Failure> {
    let place = file.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let line = match file {
        Some(file) => File::open(file).and_then(first_line),
        None => ask().and_then(first_line),
    };
    let line = line.with_context(|| format!("cannot read the token from {place}"));
    let line = line.map_err(|error| Failure::new(Exit::Usage, error))?;
    match line.as_bytes().len() {
        0 => Err(Failure::say(
            Exit::Usage,
            format_args!("there is no token in {place}; `privnet host invite NAME` prints one, and the command for it"),
        )),
        1..=LINE_OCTETS_MAX => Ok(line),
        _ => Err(Failure::say(Exit::Usage, format_args!("what is in {place} is longer than any token"))),
    }
}

/// Standard input, without Rust's own buffer, which is never wiped.
fn ask() -> io::Result<File> {
    let input = io::stdin();
    if input.is_terminal() {
        // Whoever pastes it has it on the screen: it is echoed.
        let mut said = io::stderr();
        write!(said, "The token of the invitation: ")?;
        said.flush()?;
    }
    Ok(File::from(input.as_fd().try_clone_to_owned()?))
}

/// Reads no more than a line, an octet at a time: what follows is for whoever reads next. Of what is too long it reads
/// enough to tell.
fn first_line(mut from: impl Read) -> io::Result<Secret> {
    let mut line = Secret::default();
    let mut octet = [0];
    while line.as_bytes().len() <= LINE_OCTETS_MAX {
        match from.read(&mut octet) {
            Ok(0) => break,
            Ok(_) if octet == *b"\n" => break,
            Ok(_) => line.push(&octet),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Secret::of(&[line.as_bytes().trim_ascii()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(content: &[u8]) -> Result<Secret, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("writable");
        let name = file.path().display().to_string();
        read(Some(file.path())).map_err(|failure| failure.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn a_token_is_the_first_line_however_it_ends() {
        for content in ["pnj-1", "pnj-1\n", " pnj-1\t\r\n", "pnj-1\nmore\n"] {
            assert_eq!(in_file(content.as_bytes()).expect("a token").as_bytes(), b"pnj-1", "{content:?}");
        }
    }

    #[test]
    fn what_comes_after_the_line_is_left_there() {
        let mut input = &b"pnj-1\nmore"[..];
        first_line(&mut input).expect("a line");
        assert_eq!(input, b"more");
    }

    #[test]
    fn what_is_no_token_is_told_with_its_place() {
        for empty in ["", "\n", " \npnj-1\n"] {
            let refusal = in_file(empty.as_bytes()).expect_err("none");
            assert!(refusal.starts_with("there is no token in FILE; `privnet host invite NAME`"), "{refusal}");
        }
        assert!(in_file(&[b'x'; LINE_OCTETS_MAX]).is_ok());
        let refusal = in_file(&[b'x'; LINE_OCTETS_MAX + 1]).expect_err("too long");
        assert_eq!(refusal, "what is in FILE is longer than any token");
        let refusal = read(Some(Path::new("/nowhere/token"))).expect_err("no file").to_string();
        assert!(refusal.starts_with("cannot read the token from /nowhere/token: "), "{refusal}");
    }
}
