// SPDX-License-Identifier: Apache-2.0

use super::{super::super::catalogue::example, *};
use pol_sources::hub::catalogue;

#[test]
fn data_sets_of_the_catalogue_are_sources_as_it_shows_them() {
    let folder = Folder::new();
    let sources: String = catalogue().iter().map(example).collect();
    let config = folder.toml(&sources).unwrap();
    let mut names: Vec<_> = config.sources.iter().map(|source| &source.name).collect();
    names.sort_unstable();
    let known: Vec<_> = catalogue().iter().map(|entry| &entry.name).collect();
    assert_eq!(names, known);
}
