// SPDX-License-Identifier: Apache-2.0

mod browser;
#[path = "../../tests/browser/driver.rs"]
mod driver;
mod model;
mod process;
mod sample;

use super::*;
use crate::files::names;

fn content(name: &str) -> &'static str {
    let file = if name == "index.html" { &INDEX } else { find(name).unwrap() };
    std::str::from_utf8(file.bytes).unwrap()
}

#[tokio::test]
async fn files_are_sent_once_and_found_unchanged_later() {
    for name in names() {
        let first = asset(Path(name.into()), HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK, "{name}");
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        let tag = first.headers()[header::ETAG].clone();
        for known in
            [tag.to_str().unwrap().to_owned(), format!("\"x\", W/{}", tag.to_str().unwrap())]
        {
            let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, known.parse().unwrap())]);
            let again = asset(Path(name.into()), known).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
            assert_eq!(again.headers()[header::ETAG], tag);
        }
        let other = HeaderMap::from_iter([(header::IF_NONE_MATCH, "\"x\"".parse().unwrap())]);
        assert_eq!(asset(Path(name.into()), other).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn every_page_has_the_strict_policy_and_others_do_not_exist() {
    for name in PAGES {
        let response = page(Path(name.into()), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert!(content("index.html").contains(&format!("/dashboard/{name}\"")), "{name}");
    }
    for name in ["", "..", "app.js", "Network"] {
        let response = page(Path(name.into()), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{name}");
        let response = asset(Path(format!("../{name}")), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{name}");
    }
}

#[test]
fn files_name_only_each_other() {
    let page = content("index.html");
    assert!(!page.contains(" style=") && !page.contains("<style"));
    let scripts = page.matches("<script").count();
    assert_eq!(scripts, page.matches("src=\"/dashboard/assets/").count() - 1, "one is an image");
    for part in page.split("/dashboard/assets/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(find(name).is_some(), "{name}");
    }
    for name in names().filter(|name| name.ends_with(".js")) {
        let script = content(name);
        for part in script.split(" from \"").skip(1) {
            let imported = part.split('"').next().unwrap().strip_prefix("./").unwrap();
            assert!(find(imported).is_some(), "{name} imports {imported}");
        }
        // Text of strangers never becomes markup or code.
        for way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https:"]
        {
            assert!(!script.contains(way), "{name} has {way}");
        }
    }
}
