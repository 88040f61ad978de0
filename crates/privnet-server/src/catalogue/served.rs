use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use privnet_model::with_causes;
use privnet_model::zone::Zone;
use tracing::{error, info};

use super::{Catalogue, CatalogueError};

/// The catalogue in force, and the file that it is read from. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ServedCatalogue {
    file: PathBuf,
    /// Whether the built-in one holds where there is no such file.
    is_optional: bool,
    current: Arc<RwLock<Arc<Catalogue>>>,
}

impl ServedCatalogue {
    /// What the file says; where there is none and it is optional, what is built in.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub fn open(file: PathBuf, is_optional: bool) -> Result<Self, CatalogueError> {
        let current = read(&file, is_optional)?;
        Ok(Self { file, is_optional, current: Arc::new(RwLock::new(Arc::new(current))) })
    }

    /// The one that holds now.
    pub(crate) fn current(&self) -> Arc<Catalogue> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again: requests from now on are answered by what is in it, and the log names what the zone's
    /// instances have and it has not. If it is no catalogue, the log says so, and all stays as it is.
    pub(crate) fn reload(&self, zone: &Zone) {
        let file = self.file.display();
        match read(&self.file, self.is_optional) {
            Ok(newer) => {
                info!(%file, types = newer.types.len(), templates = newer.templates.len(), "the catalogue is read again");
                newer.warn_of_gone(zone);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(newer);
            }
            Err(cause) => error!(%file, cause = with_causes(&cause), "the catalogue stays what it was"),
        }
    }
}

fn read(file: &Path, is_optional: bool) -> Result<Catalogue, CatalogueError> {
    match Catalogue::read(file) {
        Err(CatalogueError::Read(error)) if is_optional && error.kind() == io::ErrorKind::NotFound => {
            Ok(Catalogue::built_in())
        }
        read => read,
    }
}
