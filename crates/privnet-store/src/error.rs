use std::error::Error;

/// The store could not do what it was asked to. It has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be used now. The same call may succeed when the cause is gone.
    #[error("cannot {doing}: {trouble}")]
    Database {
        /// What we did.
        doing: &'static str,
        /// What kind of trouble it is.
        trouble: Trouble,
        /// What the database says.
        source: Cause,
    },
    /// A newer version has written the database.
    #[error(
        "the database has schema version {found} and this program knows versions up to {known}; use a newer program, or a copy from before the upgrade"
    )]
    NewerSchema {
        /// The database's.
        found: u32,
        /// Our newest.
        known: u32,
    },
    /// Another program has written the database.
    #[error("the file is a database of another program; choose another data folder, or move the file away")]
    Foreign,
    /// A record cannot be written without breaking a constraint.
    #[error("cannot write {record}: it breaks a constraint of the database")]
    Constraint {
        /// Which one.
        record: String,
        /// The constraint, in the database's words.
        source: Cause,
    },
    /// A record to be changed is not as the change found it.
    #[error("cannot write {record}: somebody else has changed it")]
    Changed {
        /// Which one.
        record: String,
    },
    /// A record breaks one of its own rules.
    #[error("cannot read {column} of {record}")]
    Invalid {
        /// The table and the key of the record.
        record: String,
        /// The value that breaks it.
        column: &'static str,
        /// The rule.
        source: Cause,
    },
}

/// What is the matter with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Another program is using it.
    #[error("another program is using the database, such as a server that runs on this data folder already")]
    Busy,
    /// There is no room.
    #[error("the database or its disk is full")]
    Full,
    /// It must not be written to.
    #[error("the database is read-only")]
    ReadOnly,
    /// It is not a database, or damaged.
    #[error("the file is not a database or is damaged")]
    Corrupt,
    /// Anything else, such as an I/O error.
    #[error("the database has failed")]
    Failed,
}

/// What is below a [`StoreError`]: its text is for people, its type is the implementation's own.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;
