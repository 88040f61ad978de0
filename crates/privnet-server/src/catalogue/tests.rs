use std::path::PathBuf;

use super::*;

const TYPE: &str = r#"
[[instance-type]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50"
family = "standard"
size = "medium"
cpus = 2
memory-mib = 4096
"#;

const TEMPLATE: &str = r#"
[[template]]
id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f51"
name = "Debian 12"
driver = "external"
default-user = "debian"
size-gib = 10
boot-mode = "uefi"
"#;

fn refusal(text: &str) -> String {
    Catalogue::parse(text).expect_err("refused").to_string()
}

#[test]
fn the_built_in_one_has_the_ids_that_it_has_always_had() {
    let built_in = Catalogue::built_in();
    let types: Vec<_> =
        built_in.types(std::iter::empty()).instance_types.iter().map(|one| (one.id, one.size.to_owned())).collect();
    let sizes = ["micro", "tiny", "small", "medium", "large", "extra-large", "huge"];
    let expected = (1..).zip(sizes).map(|(number, size)| (InstanceTypeId::built_in(number), size.to_owned()));
    assert_eq!(types, expected.collect::<Vec<_>>());
    assert_eq!(built_in.offers_type(InstanceTypeId::UNKNOWN), Some(true));
    assert_eq!(built_in.driver_of(TemplateId::WORKLOAD), Some((Driver::Netns, true)));
    assert_eq!(built_in.templates().templates.len(), 1);
}

#[test]
fn a_file_says_what_instances_can_be() {
    let catalogue = Catalogue::parse(&format!("{TYPE}{TEMPLATE}")).expect("valid");
    let [medium] = &catalogue.types(std::iter::empty()).instance_types[..] else { panic!("one") };
    assert_eq!((medium.family, medium.size, medium.cpus, medium.memory), ("standard", "medium", 2, 4 << 30));
    let shown = catalogue.templates();
    let [debian] = &shown.templates[..] else { panic!("one") };
    assert_eq!((debian.name, debian.default_user, debian.boot_mode), ("Debian 12", Some("debian"), Some("uefi")));
    assert_eq!(debian.size, Some(10 << 30));
    assert_eq!(catalogue.driver_of(debian.id), Some((Driver::External, true)));
}

#[test]
fn what_is_not_offered_any_more_is_still_found() {
    let withdrawn = format!("{TYPE}offered = false{TEMPLATE}offered = false");
    let catalogue = Catalogue::parse(&withdrawn).expect("valid");
    let [medium] = &catalogue.types(std::iter::empty()).instance_types[..] else { panic!("one") };
    assert!(!medium.authorized);
    assert_eq!(catalogue.offers_type(medium.id), Some(false));
    assert_eq!(catalogue.templates().templates.len(), 0);
    let id = "3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f51".parse().expect("an id");
    assert_eq!(catalogue.driver_of(id), Some((Driver::External, false)));
    assert!(catalogue.template_with_id(id, || false).is_some());
}

#[test]
fn what_is_in_no_file_any_more_is_found_by_those_who_use_it() {
    let built_in = Catalogue::built_in();
    let (gone, template) = (InstanceTypeId::MIN, TemplateId::MIN);
    assert_eq!(built_in.type_with_id(gone, || false), None);
    assert_eq!(built_in.type_with_id(gone, || true).map(|one| one.id), Some(gone));
    let listed = built_in.types([gone, InstanceTypeId::UNKNOWN, gone].into_iter()).instance_types;
    assert_eq!((listed.len(), listed[7].id), (8, gone));
    assert_eq!(built_in.template_with_id(template, || false), None);
    assert_eq!(built_in.template_with_id(template, || true).map(|one| one.id), Some(template));
    assert_eq!((built_in.offers_type(gone), built_in.driver_of(template)), (None, None));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_is_expected() {
    let check = |text: &str, expected: &[&str]| {
        let refusal = refusal(text);
        expected.iter().for_each(|part| assert!(refusal.contains(part), "{part} is not in {refusal}"));
    };
    let changed = |from: &str, to: &str| format!("{TYPE}{TEMPLATE}").replace(from, to);
    check("", &["there is no [[instance-type]] in it", "privnet catalogue"]);
    check(TYPE, &["there is no [[template]] in it"]);
    check("[[", &["line 1"]);
    check(&changed("cpus", "cores"), &["line 6", "unknown field `cores`", "`cpus`"]);
    check(&changed("[[template]]", "[[templates]]"), &["line 9", "unknown field `templates`", "`template`"]);
    check(&changed("cpus = 2", "cpus = 0"), &["line 6", "a whole number from 1 to 1024 is expected"]);
    check(&changed("size-gib = 10", "size-gib = -1"), &["line 14", "a whole number from 1 to 51200 is expected"]);
    check(&changed("medium", "Medium"), &["line 5", "1 to 64 small letters, digits, - and _ are expected"]);
    check(&changed("Debian 12", ""), &["line 11", "empty"]);
    check(&changed("external", "qemu"), &["line 12", "unknown variant `qemu`", "`netns`", "`external`"]);
    check(&changed("uefi", "bios"), &["line 15", "unknown variant `bios`"]);
    check(&changed("4f50", "4f5"), &["line 3", "is not a UUID such as"]);
    check(&changed("driver = \"external\"", ""), &["missing field `driver`"]);
}

#[test]
fn no_two_entries_have_one_id_or_one_name() {
    let other = TYPE.replace("4f50", "4f52");
    let twice = format!("{TYPE}{TYPE}{TEMPLATE}");
    assert_eq!(
        refusal(&twice),
        "line 10: id 3f7d4c1e-8f0a-4b55-9a7e-6a1c2d3e4f50 is there already; each entry needs its own"
    );
    assert_eq!(
        refusal(&format!("{TYPE}{other}{TEMPLATE}")),
        "line 10: standard.medium is there already; each entry needs its own"
    );
    assert!(refusal(&format!("{TYPE}{TEMPLATE}{TEMPLATE}")).starts_with("line 18: id "));
}

/// As a file that nobody has named, or one that somebody has.
fn served(dir: &tempfile::TempDir, is_optional: bool) -> (PathBuf, Result<ServedCatalogue, CatalogueError>) {
    let file = dir.path().join("catalogue.toml");
    (file.clone(), ServedCatalogue::open(file, is_optional))
}

#[test]
fn what_is_read_again_holds_for_all_who_have_it_and_what_is_no_good_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, served) = served(&dir, true);
    let served = served.expect("what is built in");
    let other = served.clone();
    let write = |text: &str| {
        std::fs::write(&file, text).expect("written");
        served.reload(&Zone::default());
    };
    let own = Catalogue::parse(&format!("{TYPE}{TEMPLATE}")).expect("valid");
    std::fs::write(&file, format!("{TYPE}{TEMPLATE}")).expect("written");
    assert_eq!(*other.current(), Catalogue::built_in(), "nobody has said so");
    write(&format!("{TYPE}{TEMPLATE}"));
    assert_eq!(*other.current(), own);
    for bad in ["", "[[", TYPE] {
        write(bad);
        assert_eq!(*other.current(), own, "{bad}");
    }
    std::fs::remove_file(&file).expect("removed");
    served.reload(&Zone::default());
    assert_eq!(*other.current(), Catalogue::built_in());
}

#[test]
fn a_file_that_somebody_has_named_must_be_there_and_its_loss_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(matches!(served(&dir, false).1, Err(CatalogueError::Read(_))));
    std::fs::write(dir.path().join("catalogue.toml"), format!("{TYPE}{TEMPLATE}")).expect("written");
    let (file, served) = served(&dir, false);
    let served = served.expect("a catalogue");
    std::fs::remove_file(&file).expect("removed");
    served.reload(&Zone::default());
    assert_ne!(*served.current(), Catalogue::built_in());
}
