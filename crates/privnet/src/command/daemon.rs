use crate::exit::Failure;
use crate::settings::Settings;

pub(super) fn server(_settings: &Settings) -> Result<(), Failure> {
    Ok(())
}
pub(super) fn agent(_settings: &Settings) -> Result<(), Failure> {
    Ok(())
}
pub(super) fn purge(_settings: &Settings) -> Result<(), Failure> {
    Ok(())
}
pub(super) fn up(_settings: &Settings) -> Result<(), Failure> {
    Ok(())
}
