// SPDX-License-Identifier: Apache-2.0

use super::{super::records::records, *};
use proptest::prelude::*;
use serde_json::{Value, json};

fn field(name: &str, kind: &str, source: Value) -> Value {
    json!({ "@type": "cr:Field", "@id": name, "dataType": kind, "source": source })
}

fn column(file: &str, column: &str) -> Value {
    json!({ "fileObject": { "@id": file }, "extract": { "column": column } })
}

/// Returns a description as the specification's examples are: a table, and an archive of texts.
fn example() -> Value {
    json!({
        "@type": "sc:Dataset",
        "name": "stories",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "distribution": [
            { "@type": "cr:FileObject", "@id": "table", "contentUrl": "stories.csv" },
            { "@type": "cr:FileObject", "@id": "archive", "contentUrl": "stories.tar.gz" },
            {
                "@type": "cr:FileSet",
                "@id": "texts",
                "containedIn": { "@id": "archive" },
                "includes": ["*.txt", "*.md"],
                "excludes": "README.md",
            },
            {
                "@type": "cr:FileObject",
                "@id": "one",
                "containedIn": { "@id": "archive" },
                "contentUrl": "a[1].txt",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "splits",
                "field": { "@id": "splits/name", "dataType": ["sc:Text", "cr:Split"] },
                "data": [{ "splits/name": "train" }],
            },
            {
                "@type": "cr:RecordSet",
                "@id": "rows",
                "field": [
                    field("rows/title", "sc:Text", column("table", "title")),
                    field("rows/body", "sc:Text", column("table", "body")),
                    field("rows/stars", "sc:Integer", column("table", "stars")),
                ],
            },
            {
                "@type": "cr:RecordSet",
                "@id": "files",
                "field": [
                    field("files/all", "sc:Text", json!({
                        "fileSet": { "@id": "texts" },
                        "extract": { "fileProperty": "content" },
                    })),
                    field("files/name", "sc:Text", json!({
                        "fileSet": { "@id": "texts" },
                        "extract": { "fileProperty": "filename" },
                    })),
                ],
            },
        ],
    })
}

fn parse(value: &Value) -> SourceDescription {
    SourceDescription::parse(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Returns the description with another value at a place.
fn with(path: &str, value: Value) -> SourceDescription {
    let mut other = example();
    *other.pointer_mut(path).unwrap() = value;
    parse(&other)
}

#[test]
fn fields_of_files_are_read_and_others_left_out() {
    let source = parse(&example());
    let sizes: Vec<_> =
        source.records.iter().map(|set| (set.name.as_str(), set.fields.len())).collect();
    assert_eq!(sizes, [("splits", 0), ("rows", 3), ("files", 1)]);
    let place = |source: Value| {
        let value = json!({ "name": "r", "field": [field("f", "sc:Text", source)] });
        records(&value).unwrap().fields.pop().map(|field| field.place)
    };
    let json_path = |path: &str| {
        place(json!({ "fileObject": { "@id": "x" }, "extract": { "jsonPath": path } }))
    };
    assert_eq!(json_path("$.a.b"), Some(FieldPlace::Column("a.b".into())));
    assert_eq!(json_path("$[*].text"), Some(FieldPlace::Column("text".into())));
    assert_eq!(json_path("$..text"), Some(FieldPlace::Column(".text".into())));
    assert_eq!(json_path("$.a[0]"), None);
    assert_eq!(place(json!({ "field": { "@id": "other/field" } })), None);
    let mut changed = column("x", "text");
    changed["transform"] = json!({ "regex": "^(.)" });
    assert_eq!(place(changed), None);
}

#[test]
fn a_usual_name_chooses_the_field() {
    let chosen = parse(&example()).choose(Some("rows"), &[]).unwrap();
    assert_eq!(chosen.fields, ["body"]);
    assert_eq!(chosen.files.len(), 1);
    assert_eq!(chosen.files[0].file.id, "table");
    let named = parse(&example()).choose(None, &names(&["title", "rows/body"])).unwrap();
    assert_eq!(named.fields, ["title", "body"]);
}

#[test]
fn members_of_an_archive_are_chosen_by_its_patterns() {
    let chosen = parse(&example()).choose(Some("files"), &[]).unwrap();
    assert_eq!((chosen.fields.len(), chosen.files.len()), (0, 1));
    let ChosenFile { file, includes, excludes } = &chosen.files[0];
    assert_eq!(file.id, "archive");
    assert_eq!(
        (&includes[..], &excludes[..]),
        (&names(&["*.txt", "*.md"])[..], &names(&["README.md"])[..])
    );
}

#[test]
fn a_source_without_records_is_read_as_a_whole() {
    let source = with("/recordSet", json!([]));
    let chosen = source.choose(None, &names(&["text"])).unwrap();
    assert_eq!(chosen.fields, ["text"]);
    let files: Vec<_> = chosen.files.iter().map(|file| file.file.id.as_str()).collect();
    assert_eq!(files, ["table", "archive"]);
    assert_eq!(chosen.files[1].includes, ["a[[]1[]].txt", "*.txt", "*.md"]);
    // A set without patterns is all of the archive.
    let whole = with("/distribution/2/includes", json!([]));
    let whole = SourceDescription { records: Vec::new(), ..whole }.choose(None, &[]).unwrap();
    assert!(whole.files[1].includes.is_empty());
}

#[test]
fn choices_that_are_not_clear_name_the_remedy() {
    let refused = |source: &SourceDescription, set: Option<&str>, named: &[&str], reason: &str| {
        let error = source.choose(set, &names(named)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    let source = parse(&example());
    refused(&source, None, &[], "several sets of records have text: files, rows; name one by");
    refused(&source, Some("none"), &[], "no records none in files; name one of: files, rows");
    refused(&source, Some("splits"), &[], "no records splits");
    refused(&source, Some("rows"), &["poem"], "text_fields: files/all, rows/body, rows/title");
    let unnamed = with("/recordSet/1/field/1/source/extract/column", json!("tale"));
    let unnamed = SourceDescription {
        records: vec![DescribedRecords {
            fields: unnamed.records[1]
                .fields
                .iter()
                .cloned()
                .map(|field| DescribedField { name: field.name.replace("body", "tale"), ..field })
                .collect(),
            ..unnamed.records[1].clone()
        }],
        ..unnamed
    };
    refused(&unnamed, None, &[], "exactly one field of text");
    let lost = with("/recordSet/1/field/1/source/fileObject/@id", json!("gone"));
    refused(&lost, Some("rows"), &[], "lists no file gone");
    let repository = with(
        "/distribution/1/encodingFormat".trim_end_matches("/encodingFormat"),
        json!({
            "@type": "cr:FileObject", "@id": "archive", "contentUrl": "https://example.org/a.git",
            "encodingFormat": "git+https",
        }),
    );
    refused(&repository, Some("files"), &[], "read it by its name on the hub");
    let nested = with("/distribution/2/containedIn", json!({ "@id": "one" }));
    refused(&nested, Some("files"), &[], "is in one, which is no file of its own");
    let twice = with("/distribution/1/@id", json!("table"));
    refused(&twice, Some("rows"), &[], "the same @id");
    for value in [json!(7), json!({ "field": [] }), json!({ "name": "r", "field": 7 })] {
        assert!(records(&value).is_err(), "{value}");
    }
}

proptest! {
    #[test]
    fn no_description_panics(path in "\\$?[.a\\[\\]*]{0,8}", id in "[a-z]{0,3}", set in 0..4usize) {
        let mut other = example();
        other["recordSet"][1]["field"][0]["source"] =
            json!({ "fileObject": { "@id": id }, "extract": { "jsonPath": path } });
        other["distribution"][set.min(3)]["containedIn"] = json!([{ "@id": "table" }, id]);
        if let Ok(source) = SourceDescription::parse(&serde_json::to_vec(&other).unwrap()) {
            let _ = source.choose(None, &[]);
            let _ = source.choose(Some("rows"), &names(&["title"]));
        }
    }
}
