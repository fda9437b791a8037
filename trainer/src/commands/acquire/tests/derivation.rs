// SPDX-License-Identifier: Apache-2.0

use super::*;
use pol_data::documents::croissant::{FileFacts, ManifestName};

/// Writes a description of the table `set/rows.csv`, which was derived from what is named.
fn describe(folder: &Folder, name: &str, derived_from: &str) {
    let set = folder.0.path().join("set");
    let rows = FileFacts::read(&set, "rows.csv", "text/csv").unwrap();
    let description = json!({
        "@type": "sc:Dataset",
        "name": "tales",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "prov:wasDerivedFrom": { "@id": derived_from },
        "distribution": {
            "@type": "cr:FileObject",
            "@id": "rows",
            "contentUrl": "rows.csv",
            "encodingFormat": "text/csv",
            "sha256": hex::encode(rows.sha256),
        },
        "recordSet": {
            "@type": "cr:RecordSet",
            "@id": "tales",
            "field": {
                "@id": "tales/body",
                "dataType": "sc:Text",
                "source": { "fileObject": { "@id": "rows" }, "extract": { "column": "body" } },
            },
        },
    });
    fs::write(set.join(name), description.to_string()).unwrap();
}

#[tokio::test]
async fn text_is_not_compared_with_the_manifests_that_it_is_made_from() {
    let folder = Folder::new();
    let set = folder.0.path().join("set");
    fs::create_dir(&set).unwrap();
    // Editions of two texts that source `a` offers, and one that is new.
    let edition = |at: usize| sentences(at).replacen("saw", "met", 1);
    let rows = format!("id,body\n1,{}\n2,{}\n3,{}\n", edition(2), edition(4), edition(7));
    fs::write(set.join("rows.csv"), rows).unwrap();
    let names = ["other", "child"];
    names.iter().for_each(|name| describe(&folder, &format!("{name}.json"), "urn:tales:old"));
    let described = names.map(|name| {
        let file = format!("croissant = {{ file = \"set/{name}.json\" }}");
        format!("[[source]]\nname = \"{name}\"\nkind = \"dataset\"\n{file}\n")
    });
    let config = texts_and_mirror(&folder, &described.concat());
    let collector = Collector { batch_bytes: None, ..collector(&config) };

    let offered = collector.collect(&config.sources[0]).await;
    let content = offered.data.as_ref().unwrap().train.content_hash;
    seal(&config, offered);
    describe(&folder, "child.json", &ManifestName::Content(content).to_string());
    let collect = async |number: usize| {
        let outcome = collector.collect(&config.sources[number]).await;
        assert_eq!((outcome.error, outcome.note), (None, None));
        let data = outcome.data.unwrap();
        (data.documents, data.dropped)
    };
    assert_eq!(collect(2).await, (1, 2), "it is like what was offered");
    assert_eq!(collect(3).await, (3, 0), "it names what was offered as its parent");
}
