// SPDX-License-Identifier: Apache-2.0

//! The list of all scenarios, and the selection of some.

use crate::{
    families::FAMILIES,
    scenario::{Scenario, Setup},
};

/// A scenario of the list, with its family.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Position of the family in the list, counted from 1.
    pub(crate) class: usize,
    /// Name of the family.
    pub(crate) family: &'static str,
    /// The scenario.
    pub(crate) scenario: &'static Scenario,
}

/// Returns all scenarios in the order of the report.
pub(crate) fn all_scenarios() -> impl Iterator<Item = Entry> {
    (1..).zip(FAMILIES).flat_map(|(class, family)| {
        let entry = move |scenario| Entry { class, family: family.name, scenario };
        family.scenarios.iter().map(entry)
    })
}

/// A family or a single scenario, as named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All scenarios of the family with this name, but the long ones.
    Family(&'static str),
    /// The scenario with this name.
    Scenario(&'static str),
}

impl Filter {
    /// Parses the name of a family or a scenario, or the position of a family in the list.
    ///
    /// # Errors
    ///
    /// Fails with a list of all families if there is no such name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let position = name.parse::<usize>().ok();
        let is_family = |entry: &Entry| entry.family == name || position == Some(entry.class);
        if let Some(entry) = all_scenarios().find(is_family) {
            return Ok(Self::Family(entry.family));
        }
        match all_scenarios().find(|entry| entry.scenario.name == name) {
            // The final model shows something only after the family's attacks.
            Some(entry) if matches!(entry.scenario.setup, Setup::FinalModel(_)) => {
                Ok(Self::Family(entry.family))
            }
            Some(entry) => Ok(Self::Scenario(entry.scenario.name)),
            None => {
                let families: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
                Err(format!("no such attack; the families are {}", families.join(", ")))
            }
        }
    }

    fn contains(self, entry: &Entry) -> bool {
        match self {
            Self::Family(name) => entry.family == name && !entry.scenario.setup.is_long(),
            Self::Scenario(name) => entry.scenario.name == name,
        }
    }
}

/// The scenarios of a run.
pub(crate) struct Selection(Vec<Entry>);

impl Selection {
    /// Selects the scenarios of any filter; without a filter, all but long runs.
    pub(crate) fn new(filters: &[Filter]) -> Self {
        let is_selected = |entry: &Entry| match filters {
            [] => !entry.scenario.setup.is_long(),
            _ => filters.iter().any(|filter| filter.contains(entry)),
        };
        Self(all_scenarios().filter(is_selected).collect())
    }

    /// Returns the selected scenarios in the order of the report.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.0.iter().copied()
    }

    /// Returns `true` if the scenario is selected.
    pub(crate) fn contains(&self, entry: &Entry) -> bool {
        self.iter().any(|selected| selected.scenario.name == entry.scenario.name)
    }

    /// Divides the scenarios into those for which `is_first` holds, and all others.
    pub(crate) fn split(&self, is_first: impl Fn(&Entry) -> bool) -> (Self, Self) {
        let (first, second) = self.iter().partition(is_first);
        (Self(first), Self(second))
    }

    /// Returns `true` if a scenario needs the network of several sites.
    pub(crate) fn needs_sites(&self) -> bool {
        self.iter().any(|entry| entry.scenario.setup.needs_sites())
    }

    /// Returns `true` if a scenario needs links or mounts of this process only.
    pub(crate) fn needs_private_machine(&self) -> bool {
        self.iter().any(|entry| entry.scenario.setup.needs_private_machine())
    }

    /// Returns `true` if a scenario needs the shared network.
    pub(crate) fn needs_network(&self) -> bool {
        self.iter().any(|entry| entry.scenario.setup.needs_network())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    fn docs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attacks")
    }

    #[test]
    fn every_family_has_a_page_and_every_page_a_family() {
        let pages: BTreeSet<String> = fs::read_dir(docs())
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter_map(|file| file.strip_suffix(".md").map(str::to_owned))
            .filter(|page| page != "README")
            .collect();
        let families = FAMILIES.iter().map(|family| family.name.to_owned()).collect();
        assert_eq!(pages, families);
    }

    #[test]
    fn the_index_lists_all_families_in_order() {
        let index = fs::read_to_string(docs().join("README.md")).unwrap();
        let linked: Vec<&str> = index
            .lines()
            .filter_map(|line| line.split_once("](")?.1.split_once(".md)").map(|page| page.0))
            .filter(|page| FAMILIES.iter().any(|family| family.name == *page))
            .collect();
        let families: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(linked, families);
    }

    #[test]
    fn every_page_names_its_scenarios() {
        for entry in all_scenarios() {
            let page = fs::read_to_string(docs().join(format!("{}.md", entry.family))).unwrap();
            let name = format!("`{}`", entry.scenario.name);
            assert!(page.contains(&name), "{} does not name {name}", entry.family);
        }
    }

    #[test]
    fn scenarios_have_unique_names_and_whole_sentences() {
        let mut names = BTreeSet::new();
        for Entry { scenario, .. } in all_scenarios() {
            assert!(names.insert(scenario.name), "{} twice", scenario.name);
            for sentence in [scenario.act, scenario.expect] {
                assert!(sentence.ends_with('.'), "{}: {sentence}", scenario.name);
            }
        }
    }

    #[test]
    fn attacks_are_selected_by_family_scenario_or_position() {
        let names = |filter: &str| -> Vec<&str> {
            let filter = Filter::parse(filter).unwrap();
            Selection::new(&[filter]).iter().map(|entry| entry.scenario.name).collect()
        };
        let first = FAMILIES[0].name;
        assert_eq!(names(first), names("1"));
        assert_eq!(names("zero-payload"), ["zero-payload"]);
        assert_eq!(names("model-after-excision"), names("poisoning"));
        let short = all_scenarios().filter(|entry| !entry.scenario.setup.is_long());
        assert_eq!(Selection::new(&[]).iter().count(), short.count());
        assert_eq!(names("sybils"), ["split-work", "taken-places"]);
        assert_eq!(names("bought-seats"), ["bought-seats"]);
        let beyond = (FAMILIES.len() + 1).to_string();
        assert!(Filter::parse("0").is_err() && Filter::parse(&beyond).is_err());
        assert!(Filter::parse("nothing").is_err_and(|error| error.contains(first)));
        assert!(!Selection::new(&[Filter::Family("small-segments")]).needs_network());
    }
}
