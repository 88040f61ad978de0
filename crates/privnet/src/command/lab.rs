use crate::args::LabCommand;
use crate::exit::Failure;

pub(super) fn run(command: LabCommand) -> Result<(), Failure> {
    let _ = command;
    Ok(())
}
