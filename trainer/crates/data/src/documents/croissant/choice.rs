// SPDX-License-Identifier: Apache-2.0

//! Choice of the files and fields that hold the text of a described source.

use super::{
    import::{DescribedFile, SourceDescription},
    records::{DescribedField, DescribedRecords, FieldPlace},
    terms::invalid,
};
use crate::DataError;
use pol_corpus::TEXT_FIELDS;
use std::collections::{BTreeMap, BTreeSet};

/// Most names that an error lists.
const MAX_LISTED: usize = 20;

/// File of a source that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenFile {
    /// File.
    pub file: DescribedFile,
    /// Patterns of the members that are read, if it is an archive. Without any, all are.
    pub includes: Vec<String>,
    /// Patterns of members that are not read.
    pub excludes: Vec<String>,
}

/// Text of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenText {
    /// Files, in the order of the description.
    pub files: Vec<ChosenFile>,
    /// Fields that hold the text. If there are none, files are read as they are.
    pub fields: Vec<String>,
}

impl SourceDescription {
    /// Chooses the files and fields that hold the text: of the set named `records`, or of the only
    /// one that has text. `named` are the fields, by their names or columns. If it is empty, the
    /// usual names are tried, and then the only field of text.
    ///
    /// A source without records is read as a whole.
    ///
    /// # Errors
    ///
    /// Fails if the choice is not clear, or if a file is in something that cannot be read.
    pub fn choose(&self, records: Option<&str>, named: &[String]) -> Result<ChosenText, DataError> {
        let in_files: Vec<_> =
            self.records.iter().filter(|records| !records.fields.is_empty()).collect();
        let files = Files::of(self)?;
        if records.is_none() && in_files.is_empty() {
            return Ok(ChosenText { files: files.all()?, fields: named.to_vec() });
        }
        let is_wanted = |name: &str| records.is_none_or(|wanted| wanted == name);
        let sets = in_files.iter().filter(|set| is_wanted(&set.name));
        let found: Vec<_> = sets.filter_map(|set| Some((set, set.text(named)?))).collect();
        let choices: BTreeSet<Vec<&FieldPlace>> = found
            .iter()
            .map(|(_, fields)| fields.iter().map(|field| &field.place).collect())
            .collect();
        let places = match (choices.len(), choices.first()) {
            (1, Some(places)) => places.clone(),
            (0, _) => return Err(invalid(self.no_text(&in_files, records))),
            _ => {
                let names = listed(found.iter().map(|(set, _)| set.name.as_str()));
                return Err(invalid(format!(
                    "several sets of records have text: {names}; name one by record_set"
                )));
            }
        };
        let columns: Vec<_> = places
            .iter()
            .filter_map(|place| match place {
                FieldPlace::Column(name) => Some(name.clone()),
                FieldPlace::Content => None,
            })
            .collect();
        if !columns.is_empty() && columns.len() < places.len() {
            return Err(invalid("some fields are columns and others whole files".into()));
        }
        let names = found.iter().flat_map(|(_, fields)| fields).map(|field| field.file.as_str());
        Ok(ChosenText { files: files.some(&names.collect())?, fields: columns })
    }

    /// Returns the reason for which no set of records is chosen.
    fn no_text(&self, in_files: &[&DescribedRecords], records: Option<&str>) -> String {
        if let Some(name) = records
            && !in_files.iter().any(|set| set.name == name)
        {
            let names = listed(in_files.iter().map(|set| set.name.as_str()));
            return format!("it has no records {name} in files; name one of: {names}");
        }
        let fields = in_files.iter().flat_map(|set| &set.fields);
        let texts = fields.filter(|field| field.is_text).map(|field| field.name.as_str());
        format!(
            "no set of records has exactly one field of text, or all those that are named; name \
             some by text_fields: {}",
            listed(texts)
        )
    }
}

/// Joins the first names.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().take(MAX_LISTED).collect::<Vec<_>>().join(", ")
}

impl DescribedRecords {
    /// Returns the fields of text of one file, if they are clear.
    fn text(&self, named: &[String]) -> Option<Vec<&DescribedField>> {
        let find = |name: &str| {
            let is_it = |field: &&DescribedField| {
                field.name == name
                    || field.name.strip_prefix(&self.name) == Some(&format!("/{name}"))
                    || matches!(&field.place, FieldPlace::Column(column) if column == name)
            };
            self.fields.iter().find(is_it)
        };
        let fields = if named.is_empty() {
            let mut texts = self.fields.iter().filter(|field| field.is_text);
            let usual =
                TEXT_FIELDS.iter().find_map(|name| find(name)).filter(|field| field.is_text);
            let only = texts.next().filter(|_| texts.next().is_none());
            vec![usual.or(only)?]
        } else {
            named.iter().map(|name| find(name)).collect::<Option<Vec<_>>>()?
        };
        let file = &fields.first()?.file;
        fields.iter().all(|field| field.file == *file).then_some(fields)
    }
}

/// Files of a description by their names.
struct Files<'a> {
    all: &'a [DescribedFile],
    by_id: BTreeMap<&'a str, &'a DescribedFile>,
}

impl<'a> Files<'a> {
    fn of(source: &'a SourceDescription) -> Result<Self, DataError> {
        let by_id: BTreeMap<_, _> = source.files.iter().map(|file| (&*file.id, file)).collect();
        if by_id.len() < source.files.len() {
            return Err(invalid("two of its files have the same @id".into()));
        }
        Ok(Self { all: &source.files, by_id })
    }

    /// Chooses the files that hold no others, and all that others hold.
    fn all(&self) -> Result<Vec<ChosenFile>, DataError> {
        let held = self.all.iter().flat_map(|file| &file.contained_in);
        let containers: BTreeSet<&str> = held.map(String::as_str).collect();
        let ids = self.all.iter().map(|file| file.id.as_str());
        self.some(&ids.filter(|id| !containers.contains(id)).collect())
    }

    /// Chooses files by their names. Those in an archive are chosen as its members.
    fn some(&self, ids: &BTreeSet<&str>) -> Result<Vec<ChosenFile>, DataError> {
        let mut chosen: BTreeMap<&str, ChosenFile> = BTreeMap::new();
        for id in ids {
            let file = self.find(id)?;
            if file.contained_in.is_empty() {
                let [includes, excludes] = [Vec::new(), Vec::new()];
                chosen.insert(&file.id, ChosenFile { file: file.clone(), includes, excludes });
                continue;
            }
            let members = match &file.location {
                Some(location) => vec![escaped(location)],
                None => file.includes.clone(),
            };
            for container in &file.contained_in {
                let archive = self.archive(file, container)?;
                let fresh = || ChosenFile {
                    file: archive.clone(),
                    includes: Vec::new(),
                    excludes: Vec::new(),
                };
                let known = chosen.contains_key(&*archive.id);
                let choice = chosen.entry(&archive.id).or_insert_with(fresh);
                // What is chosen as a whole stays so.
                let is_whole = known && choice.includes.is_empty() || members.is_empty();
                choice.includes.extend_from_slice(&members);
                choice.includes.truncate(if is_whole { 0 } else { usize::MAX });
                choice.excludes.extend_from_slice(&file.excludes);
            }
        }
        // In the order of the description.
        Ok(self.all.iter().filter_map(|file| chosen.remove(&*file.id)).collect())
    }

    fn find(&self, id: &str) -> Result<&'a DescribedFile, DataError> {
        self.by_id.get(id).copied().ok_or_else(|| invalid(format!("it lists no file {id}")))
    }

    /// Returns the archive that holds a file.
    fn archive(&self, file: &DescribedFile, id: &str) -> Result<&'a DescribedFile, DataError> {
        let archive = self.find(id)?;
        let is_repository = archive.media.as_deref().is_some_and(|media| media.starts_with("git+"));
        if is_repository {
            return Err(invalid(format!(
                "{} is in the repository {id}; read it by its name on the hub, or fetch it and \
                 name the files",
                file.id
            )));
        }
        if archive.location.is_none() || !archive.contained_in.is_empty() {
            return Err(invalid(format!("{} is in {id}, which is no file of its own", file.id)));
        }
        Ok(archive)
    }
}

/// Returns the pattern of exactly this name.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut pattern, c| {
        if "?*[]".contains(c) {
            pattern.extend(['[', c, ']']);
        } else {
            pattern.push(c);
        }
        pattern
    })
}

#[cfg(test)]
mod tests;
