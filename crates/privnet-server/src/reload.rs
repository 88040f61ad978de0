use crate::catalogue::ServedCatalogue;
use crate::certificate::ServedCertificate;
use crate::engine::Engine;

/// What a server reads again while it runs, when an operator says so.
pub struct Reloader {
    pub(crate) certificate: Option<ServedCertificate>,
    pub(crate) catalogue: ServedCatalogue,
    pub(crate) engine: Engine,
}

impl Reloader {
    /// Reads the certificate of the API, if it has one, and the catalogue; each stays what it was where its files are
    /// no good. The log says what became of them.
    pub fn reload(&self) {
        if let Some(certificate) = &self.certificate {
            // The log has its failure.
            let _ = certificate.reload();
        }
        self.catalogue.reload(&self.engine.view());
    }
}
