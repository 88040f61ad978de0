/// The most octets of a label (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// The most octets of a name in text form (RFC 1035 §2.3.4, without the lengths of the first label and the root).
const NAME_OCTETS_MAX: usize = 253;

/// The host name of an instance: its own name, as far as RFC 1123 §2.1 lets a host have it.
///
/// Dots part labels. In a label, what is neither an ASCII letter nor a digit becomes a hyphen, and hyphens at its
/// ends are left out; labels that have nothing left are, too. `None` if nothing is left at all.
pub(crate) fn of_instance(name: &str) -> Option<String> {
    let mut host_name = String::new();
    for label in name.split('.').filter_map(label) {
        let dot = if host_name.is_empty() { "" } else { "." };
        if host_name.len() + dot.len() + label.len() > NAME_OCTETS_MAX {
            break;
        }
        host_name.push_str(dot);
        host_name.push_str(&label);
    }
    (!host_name.is_empty()).then_some(host_name)
}

fn label(text: &str) -> Option<String> {
    let hyphenated: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let start = hyphenated.trim_start_matches('-');
    let label = start[..start.len().min(LABEL_OCTETS_MAX)].trim_end_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}
