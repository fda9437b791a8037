// SPDX-License-Identifier: Apache-2.0

//! Documentation by sitemap, and news by feed.

use crate::{connectors::client, sink::Memory};
use pol_mock_services::{Response, Server};
use pol_sources::{
    End,
    connectors::{Documentation, News, OUTLETS},
    crawl::Visitor,
};
use url::Url;

fn visitor() -> Visitor {
    Visitor::new(client())
}

#[test]
fn documentation_is_read_by_its_sitemap() {
    let server = Server::start(|request| {
        let host = request.header("host").unwrap();
        let list = |outer: &str, inner: &str, paths: &[&str]| {
            let items: String = paths
                .iter()
                .map(|path| format!("<{inner}><loc>http://{host}{path}</loc></{inner}>"))
                .collect();
            Response::new(200, format!("<?xml version=\"1.0\"?><{outer}>{items}</{outer}>"))
                .with("Content-Type", "application/xml")
        };
        match request.path.as_str() {
            "/sitemap.xml" => list("sitemapindex", "sitemap", &["/-/sitemap/a/sitemap.xml"]),
            "/-/sitemap/a/sitemap.xml" => {
                list("urlset", "url", &["/a/latest/a/", "/b/latest/b/", "/other/", "/a/gone/"])
            }
            "/a/latest/a/" | "/b/latest/b/" => Response::new(
                200,
                format!(
                    "<html><head><title>Crate</title><link rel=\"license\" \
                     href=\"https://creativecommons.org/licenses/by/4.0/\"></head><body>\
                     <p>Documentation at {}.</p><a href=\"/a/latest/a/linked\">more</a></body>\
                     </html>",
                    request.path
                ),
            )
            .with("Content-Type", "text/html; charset=utf-8"),
            _ => Response::new(404, ""),
        }
    });
    let documentation = Documentation {
        sitemaps: vec![Url::parse(&format!("{}/sitemap.xml", server.address)).unwrap()],
        path_prefixes: vec!["/a/".into(), "/b/".into()],
        max_pages: 100,
    };
    let mut store = Memory::default();
    let end = store.fill(&mut documentation.source(visitor()).unwrap()).unwrap();
    assert_eq!((end, store.documents.len()), (End::Idle, 2));
    let origin = &store.documents[0].origin;
    assert_eq!(origin.source, "documentation/127.0.0.1");
    assert_eq!(origin.licence.as_deref(), Some("CC-BY-4.0"));
    let paths = server.paths();
    assert!(!paths.iter().any(|path| path.contains("linked") || path.contains("other")));
}

#[test]
fn news_have_the_licence_of_their_outlet() {
    let server = Server::start(|request| {
        let host = request.header("host").unwrap();
        match request.path.as_str() {
            "/feed/" => {
                let text = "News of the day. ".repeat(200);
                let feed = format!(
                    "<?xml version=\"1.0\"?><rss version=\"2.0\" \
                     xmlns:content=\"http://purl.org/rss/1.0/modules/content/\"><channel>\
                     <title>Outlet</title><link>http://{host}/</link><description>d</description>\
                     <item><title>One</title><link>http://{host}/one</link><guid>1</guid>\
                     <content:encoded><![CDATA[<p>{text}</p>]]></content:encoded></item>\
                     </channel></rss>"
                );
                Response::new(200, feed).with("Content-Type", "application/rss+xml")
            }
            _ => Response::new(404, ""),
        }
    });
    let feed = Url::parse(&format!("{}/feed/", server.address)).unwrap();
    let licence = Some(OUTLETS[0].licence.to_owned());
    let mut store = Memory::default();
    let mut news = News::new(visitor(), OUTLETS[0].name, vec![feed], licence).unwrap();
    assert_eq!(store.fill(&mut news).unwrap(), End::Idle);
    let document = &store.documents[0];
    assert_eq!(document.origin.source, "news/global-voices");
    assert_eq!(document.origin.licence.as_deref(), Some("CC-BY-3.0"));
    assert!(String::from_utf8_lossy(&document.bytes).contains("News of the day."));
    for outlet in &OUTLETS {
        assert!(News::of(visitor(), outlet).is_ok(), "{}", outlet.name);
    }
}
