//! Taps: network devices of a host whose frames a program reads and writes, such as a virtual machine's monitor.

use std::fmt;

/// Who may open a port's tap device, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tap {
    /// The user who may. Where neither a user nor a group is given, it is root.
    pub owner: Option<Account>,
    /// The group whose members may. Where a user is given as well, who opens the device must be both.
    pub group: Option<Account>,
    /// Whether it has several queues, each opened on its own (`IFF_MULTI_QUEUE`); else it has one, which is opened
    /// without that flag.
    pub is_multi_queue: bool,
}

/// A user or a group of a host, by number or by a name that the host knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Any but the last number, which stands for nobody (chown(2)).
    Number(u32),
    /// 1 to 32 octets (useradd(8)), and not a number.
    Name(AccountName),
}

/// The name of a user or a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Box<str>);

impl AccountName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text names neither a user nor a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is neither a number from 0 to 4294967294 nor a name of 1 to 32 octets of printable ASCII without \":\", \"/\" \
     and white space"
)]
pub struct AccountError(pub String);

/// How long a name may be, in octets.
const NAME_OCTETS_MAX: usize = 32;

/// What stands for no user and no group.
const NOBODY: u32 = u32::MAX;

impl TryFrom<&str> for Account {
    type Error = AccountError;

    fn try_from(text: &str) -> Result<Self, AccountError> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_name = (1..=NAME_OCTETS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b'/'));
        let account = match is_number {
            true => text.parse().ok().filter(|number| *number != NOBODY).map(Self::Number),
            false => is_name.then(|| Self::Name(AccountName(text.into()))),
        };
        account.ok_or_else(|| AccountError(text.to_owned()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.0.fmt(f),
        }
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_number_or_a_name() {
        for good in
            ["0", "64055", "4294967294", "libvirt-qemu", "_svc.vm+1$", "1st", "AD\\vm@example.org", &"x".repeat(32)]
        {
            assert_eq!(Account::try_from(good).map(|account| account.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(Account::try_from("007"), Ok(Account::Number(7)));
        for bad in ["", "4294967295", "99999999999", "a b", "a:b", "../etc", "a\n", "käthe", &"x".repeat(33)] {
            assert_eq!(Account::try_from(bad), Err(AccountError(bad.to_owned())));
        }
    }
}
