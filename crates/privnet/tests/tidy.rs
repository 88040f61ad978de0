//! What no compiler holds: that the documents say what the tree is like.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each of our crates with those of ours that it depends on.
type Dependencies = BTreeMap<String, Vec<String>>;

#[test]
fn the_architecture_page_shows_the_dependencies_between_crates() {
    assert_eq!(documented(), in_the_manifests());
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_local = !target.is_empty() && !target.contains("://");
            if is_local && !page.parent().expect("in a folder").join(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The block of ARCHITECTURE.md that begins with "```dependencies".
fn documented() -> Dependencies {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let block = page.split("```dependencies\n").nth(1).expect("its block").split("```").next().expect("its end");
    let line = |line: &str| {
        let (name, uses) = line.split_once(':').expect("crate: its dependencies");
        (name.to_owned(), uses.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().map(line).collect()
}

fn in_the_manifests() -> Dependencies {
    let folders = fs::read_dir(root().join("crates")).expect("the crates").map(|entry| entry.expect("a crate").path());
    folders.map(|folder| (folder.file_name().expect("a name").to_string_lossy().into_owned(), uses(&folder))).collect()
}

fn uses(folder: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let names = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    names.filter(|name| name.starts_with("privnet-")).cloned().collect()
}

fn pages() -> Vec<PathBuf> {
    let folders = [root(), root().join("docs"), root().join("docs/decisions")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    files
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}
