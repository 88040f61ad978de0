//! Properties of a JSON object, read one by one. Each fault is noted with the property, the value
//! and the rule, and reading goes on.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use privnet_model::{
    Description, DhcpOptions, DomainName, DomainNameError, InstanceId, Labels, Name, OrganizationId, ParseIdError,
    Quota, Subnet,
};
use serde_json::{Map, Value};

/// How much of a text is quoted in a message.
const QUOTED_CHARS_MAX: usize = 64;

/// How many labels something has at most.
pub(super) const LABELS_MAX: usize = 64;
/// How many names a list has at most.
const NAMES_MAX: usize = 64;

/// Sentences about what is wrong.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn note(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_sentences(self) -> Vec<String> {
        self.0
    }
}

/// What a property turned out to be.
pub(super) enum Given<T> {
    /// It is not there.
    Absent,
    /// It breaks a rule; the fault is noted.
    Bad,
    /// It obeys.
    Good(T),
}

impl<T> Given<T> {
    pub(super) fn good(self) -> Option<T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The value, if there is one; `None` after a fault.
    pub(super) fn unless_bad(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Good(value) => Some(Some(value)),
        }
    }

    /// Notes the absence of a property that must be there.
    pub(super) fn required(self, fields: &mut Fields<'_>, property: &str) -> Option<T> {
        if matches!(self, Self::Absent) {
            fields.fault(property, "is required");
        }
        self.good()
    }
}

/// The properties of one object, and where what is wrong with them is noted.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What stands before a property's name in messages, such as `options.`.
    prefix: &'static str,
    faults: &'a mut Faults,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>, faults: &'a mut Faults) -> Self {
        Self { object, prefix: "", faults }
    }

    pub(super) fn note(&mut self, sentence: String) {
        self.faults.note(sentence);
    }

    pub(super) fn fault(&mut self, property: &str, problem: impl Display) {
        let prefix = self.prefix;
        self.faults.note(format!("{prefix}{property}: {problem}"));
    }

    pub(super) fn name(&mut self) -> Given<Name> {
        self.parsed("name", |text| Name::try_from(text))
    }

    pub(super) fn description(&mut self) -> Given<Description> {
        self.parsed("description", |text| Description::try_from(text))
    }

    pub(super) fn address(&mut self, property: &str) -> Given<Ipv4Addr> {
        self.parsed(property, ipv4)
    }

    pub(super) fn netmask(&mut self) -> Given<Ipv4Addr> {
        self.parsed("netmask", |text| {
            let netmask = ipv4(text)?;
            Subnet::new(Ipv4Addr::UNSPECIFIED, netmask).map(|_| netmask).map_err(|error| error.to_string())
        })
    }

    /// The `id` of the object `instance`; both must be there.
    pub(super) fn instance_id(&mut self) -> Option<InstanceId> {
        self.id_of("instance", "instance.")
    }

    /// The `id` of an object; both must be there. `prefix`: the object's name and a dot.
    pub(super) fn id_of<T: FromStr<Err = ParseIdError>>(&mut self, property: &str, prefix: &'static str) -> Option<T> {
        let object = self.object(property).required(self, property)?;
        let mut object = Fields { object, prefix, faults: self.faults };
        object.parsed("id", parse_id).required(&mut object, "id")
    }

    /// The `name` of an object that may be absent.
    pub(super) fn name_of(&mut self, property: &str, prefix: &'static str) -> Given<Name> {
        match self.object(property) {
            Given::Good(object) => Fields { object, prefix, faults: self.faults }.named(),
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
        }
    }

    /// The `name`s of a list of objects; empty where there is none.
    pub(super) fn names_in(&mut self, property: &str) -> Vec<Name> {
        let items = match self.object.get(property) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(property, format_args!("must be an array of objects, not {}", description_of(other)));
                return Vec::new();
            }
        };
        if items.len() > NAMES_MAX {
            self.fault(property, format_args!("has {} items, at most {NAMES_MAX} are allowed", items.len()));
            return Vec::new();
        }
        let name = |item: &'a Value| match item {
            Value::Object(object) => Fields { object, prefix: "", faults: self.faults }.named().good(),
            other => {
                self.faults.note(format!("{property}: has {} where an object must be", description_of(other)));
                None
            }
        };
        items.iter().filter_map(name).collect()
    }

    fn named(&mut self) -> Given<Name> {
        match self.name() {
            Given::Absent => {
                self.fault("name", "is required");
                Given::Bad
            }
            name => name,
        }
    }

    /// A whole number within bounds.
    pub(super) fn number<T>(&mut self, property: &str, bounds: RangeInclusive<T>) -> Given<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(value) = self.object.get(property) else { return Given::Absent };
        let number = value.as_i64().and_then(|number| T::try_from(number).ok());
        match number.filter(|number| bounds.contains(number)) {
            Some(number) => Given::Good(number),
            None => {
                let (least, most, given) = (bounds.start(), bounds.end(), description_of(value));
                self.fault(property, format_args!("must be a whole number from {least} to {most}, not {given}"));
                Given::Bad
            }
        }
    }

    /// True or false.
    pub(super) fn truth(&mut self, property: &str) -> Given<bool> {
        match self.object.get(property) {
            None => Given::Absent,
            Some(Value::Bool(truth)) => Given::Good(*truth),
            Some(other) => {
                self.fault(property, format_args!("must be a boolean, not {}", description_of(other)));
                Given::Bad
            }
        }
    }

    /// The id of the organization that something belongs to.
    pub(super) fn organization(&mut self) -> Given<OrganizationId> {
        self.parsed("organization", parse_id)
    }

    /// The three members of `quotas`: of networks, of ports per network and of instances.
    pub(super) fn quotas(&mut self) -> [Option<Quota>; 3] {
        let Given::Good(object) = self.object("quotas") else { return [None; 3] };
        let mut quotas = Fields { object, prefix: "quotas.", faults: self.faults };
        ["networks", "ports-per-network", "instances"].map(|property| {
            let limit = quotas.number(property, -1..=i64::from(u32::MAX)).good()?;
            Some(u32::try_from(limit).map_or(Quota::Unlimited, Quota::AtMost))
        })
    }

    pub(super) fn labels(&mut self) -> Given<Labels> {
        let object = match self.object("labels") {
            Given::Good(object) => object,
            Given::Absent => return Given::Absent,
            Given::Bad => return Given::Bad,
        };
        if object.len() > LABELS_MAX {
            self.fault("labels", format_args!("has {} labels, at most {LABELS_MAX} are allowed", object.len()));
            return Given::Bad;
        }
        let mut labels = Labels::new();
        for (key, value) in object {
            match label(key, value) {
                Ok(text) => drop(labels.insert(key.clone(), text.to_owned())),
                Err(problem) => self.fault(&format!("labels.{}", cut(key)), problem),
            }
        }
        if labels.len() == object.len() { Given::Good(labels) } else { Given::Bad }
    }

    pub(super) fn options(&mut self) -> Given<DhcpOptions> {
        let object = match self.object("options") {
            Given::Good(object) => object,
            Given::Absent => return Given::Absent,
            Given::Bad => return Given::Bad,
        };
        let mut options = Fields { object, prefix: "options.", faults: self.faults };
        let routers = options.list("routers", ipv4);
        let dns_servers = options.list("dns-servers", ipv4);
        let ntp_servers = options.list("ntp-servers", ipv4);
        let domain_search =
            options.list("domain-search", |text| DomainName::try_from(text).map_err(|_| DomainNameError(cut(text))));
        let (Some(routers), Some(dns_servers), Some(ntp_servers), Some(domain_search)) =
            (routers, dns_servers, ntp_servers, domain_search)
        else {
            return Given::Bad;
        };
        match DhcpOptions::new(routers, dns_servers, ntp_servers, domain_search) {
            Ok(options) => Given::Good(options),
            Err(error) => {
                self.fault("options", error);
                Given::Bad
            }
        }
    }

    /// A text that obeys `parse`.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        property: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Given<T> {
        let problem = match self.object.get(property) {
            None => return Given::Absent,
            Some(Value::String(text)) => match parse(text) {
                Ok(value) => return Given::Good(value),
                Err(error) => error.to_string(),
            },
            Some(other) => format!("must be a string, not {}", description_of(other)),
        };
        self.fault(property, problem);
        Given::Bad
    }

    /// A list of texts that all obey `parse`; empty where there is none, `None` after a fault.
    fn list<T, E: Display>(&mut self, property: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        let items = match self.object.get(property) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(property, format_args!("must be an array of strings, not {}", description_of(other)));
                return None;
            }
        };
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let problem = match item {
                Value::String(text) => match parse(text) {
                    Ok(value) => {
                        values.push(value);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                other => format!("must be a string, not {}", description_of(other)),
            };
            self.fault(&format!("{property}[{index}]"), problem);
        }
        (values.len() == items.len()).then_some(values)
    }

    /// Whether a property is there.
    pub(super) fn has(&self, property: &str) -> bool {
        self.object.contains_key(property)
    }

    /// Whether a property is there as null, where that has a meaning.
    pub(super) fn is_null(&self, property: &str) -> bool {
        self.object.get(property).is_some_and(Value::is_null)
    }

    fn object(&mut self, property: &str) -> Given<&'a Map<String, Value>> {
        match self.object.get(property) {
            None => Given::Absent,
            Some(Value::Object(object)) => Given::Good(object),
            Some(other) => {
                self.fault(property, format_args!("must be an object, not {}", description_of(other)));
                Given::Bad
            }
        }
    }
}

/// An id that a path carries.
pub(super) fn id<T: FromStr<Err = ParseIdError>>(parameter: &str, text: &str, faults: &mut Faults) -> Option<T> {
    parse_id(text).map_err(|error| faults.note(format!("{parameter}: {error}"))).ok()
}

fn parse_id<T: FromStr<Err = ParseIdError>>(text: &str) -> Result<T, ParseIdError> {
    text.parse().map_err(|_| ParseIdError(cut(text)))
}

fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| match text {
        "" => "\"\" is not an IPv4 address; leave the property out if there is none".to_owned(),
        _ => format!("\"{}\" is not an IPv4 address such as 10.0.0.10", cut(text)),
    })
}

/// A key obeys the rules of a name, and a value those of a description: what a terminal, a log and a page can show.
fn label<'a>(key: &str, value: &'a Value) -> Result<&'a str, String> {
    Name::try_from(key).map_err(|error| format!("the key {error}"))?;
    match value {
        Value::String(text) => Description::try_from(&**text).map(|_| &**text).map_err(|error| error.to_string()),
        other => Err(format!("must be a string, not {}", description_of(other))),
    }
}

/// What a value is, as messages say it: by its kind alone where it has no short form.
pub(super) fn description_of(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => cut(&value.to_string()),
        Value::String(text) => format!("the string \"{}\"", cut(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text as messages quote it: without control characters and not longer than [`QUOTED_CHARS_MAX`].
pub(super) fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let start = characters.by_ref().take(QUOTED_CHARS_MAX);
    let mut quoted: String = start.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if characters.next().is_some() {
        quoted.push('…');
    }
    quoted
}
