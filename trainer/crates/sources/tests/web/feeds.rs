// SPDX-License-Identifier: Apache-2.0

//! Watches of feeds.

use super::server::{
    Reply, SECOND, Server, client, html, in_ten_years, missing, redirect, response, run, run_with,
    wait_for_batch,
};
use pol_sources::{
    Budget, End, FillOptions, Source, SourceError, Step, Totals,
    crawl::Visitor,
    feeds::{FeedOptions, Feeds, Follow},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use url::Url;

fn feeds(urls: Vec<Url>, follow: Follow) -> Feeds {
    let options = FeedOptions { follow, ..FeedOptions::new("news", urls) };
    Feeds::new(Visitor::new(client()), options).unwrap()
}

fn quick_feeds(urls: Vec<Url>) -> Feeds {
    let options = FeedOptions {
        follow: Follow::Never,
        min_interval: SECOND,
        max_interval: 2 * SECOND,
        ..FeedOptions::new("news", urls)
    };
    Feeds::new(Visitor::new(client()), options).unwrap()
}

fn rss(items: &str) -> Reply {
    let feed = format!(
        "<?xml version='1.0'?><rss version='2.0' xmlns:content='http://purl.org/rss/1.0/modules/\
         content/'><channel><title>t</title><link>http://x/</link><description>d</description>\
         {items}</channel></rss>"
    );
    response("200 OK", "ETag: \"1\"\r\n", feed)
}

fn item(name: &str, base: &Url, text: &str) -> String {
    format!(
        "<item><guid>{name}</guid><link>{base}{name}</link><title>{name}</title>\
         <content:encoded><![CDATA[<p>{text}</p>]]></content:encoded></item>"
    )
}

#[tokio::test]
async fn full_entries_are_documents_and_short_ones_are_followed() {
    let server = Server::start(|got, base| match got.path.as_str() {
        "/feed" => {
            let long = item("long", base, &"many words ".repeat(30));
            rss(&(item("short", base, "teaser") + &long + &item("private", base, "teaser")))
        }
        "/robots.txt" => response("200 OK", "", "User-agent: *\nDisallow: /private"),
        "/short" => redirect("/moved"),
        "/moved" => html("the whole text"),
        _ => missing(),
    })
    .await;
    let mut feeds = feeds(vec![server.url("/feed")], Follow::ShorterThan(100));
    let filled = run(&mut feeds).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Idle, 2));
    let long = filled.document("/long");
    assert!(long.bytes.starts_with(b"<p>many words"));
    assert_eq!(long.media.as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(filled.document("/moved").bytes, b"the whole text");
    assert!(filled.reason("/private").contains("robots.txt"));
    assert_eq!(server.pages(), ["/feed", "/moved", "/short"]);
}

#[tokio::test]
async fn a_feed_is_watched_for_new_entries_only() {
    let count = Arc::new(AtomicU32::new(1));
    let items = count.clone();
    let server = Server::start(move |got, base| match got.path.as_str() {
        "/feed" => {
            let items = items.load(Ordering::Relaxed);
            if items == 1 && got.has("if-none-match", "\"1\"") {
                return response("304 Not Modified", "", "");
            }
            rss(&(0..items).map(|n| item(&n.to_string(), base, "text")).collect::<String>())
        }
        _ => missing(),
    })
    .await;
    let watch = |millis| FillOptions {
        budget: Budget { time: Some(Duration::from_millis(millis)), ..Budget::default() },
        watch: true,
        ..FillOptions::default()
    };
    let urls = vec![server.url("/feed")];
    let mut first = quick_feeds(urls.clone());
    assert_eq!(run_with(&mut first, &watch(2500)).await.documents.len(), 1);
    let polls = server.pages().len();
    assert!((2..=4).contains(&polls), "{polls}");
    count.store(3, Ordering::Relaxed);
    let mut second = quick_feeds(urls);
    second.resume(first.cursor()).unwrap();
    let filled = run_with(&mut second, &watch(2500)).await;
    assert_eq!(filled.documents.len(), 2);
    assert!(second.resume(serde_json::json!([])).is_err());
}

#[tokio::test]
async fn a_page_that_is_busy_for_a_moment_is_visited_again() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |got, base| match got.path.as_str() {
        "/feed" => rss(&(item("late", base, "teaser") + &item("never", base, "teaser"))),
        "/robots.txt" => missing(),
        "/late" if count.fetch_add(1, Ordering::Relaxed) == 2 => html("the whole text"),
        _ => response("503 Service Unavailable", "Retry-After: 0\r\n", ""),
    })
    .await;
    let filled = run(&mut feeds(vec![server.url("/feed")], Follow::Always)).await;
    assert_eq!((filled.end, filled.documents.len(), filled.refused.len()), (End::Idle, 1, 1));
    assert_eq!(filled.document("/late").bytes, b"the whole text");
    assert!(filled.reason("/never").contains("busy"));
    let pages = ["/feed", "/late", "/late", "/late", "/never", "/never", "/never"];
    assert_eq!(server.pages(), pages);
}

#[tokio::test]
async fn a_later_run_visits_pages_that_could_not_be_had() {
    // A server that fails does not tell its rules, or does not send its pages.
    for failing in ["/robots.txt", "/page"] {
        let is_up = Arc::new(AtomicBool::new(false));
        let up = is_up.clone();
        let other = Server::start(move |got, _| match got.path.as_str() {
            path if path == failing && !up.load(Ordering::Relaxed) => Reply::Nothing,
            "/robots.txt" => missing(),
            _ => html("the whole text"),
        })
        .await;
        let root = other.root.clone();
        let server = Server::start(move |got, _| match got.path.as_str() {
            "/feed" => rss(&item("page", &root, "teaser")),
            _ => missing(),
        })
        .await;
        let again = || feeds(vec![server.url("/feed")], Follow::Always);
        let mut first = again();
        let filled = run(&mut first).await;
        assert_eq!((filled.end, filled.totals), (End::Idle, Totals::default()), "{failing}");
        let mut cursor = first.cursor();
        assert_eq!(cursor["pages"][0]["tries"], 1, "{cursor}");
        // It is not asked before its time, wherever the clock is.
        let asked = other.paths().len();
        cursor["pages"][0]["due"] = u64::MAX.into();
        let mut early = again();
        early.resume(cursor.clone()).unwrap();
        assert_eq!(run(&mut early).await.end, End::Idle);
        assert!(early.cursor()["pages"][0]["due"].as_u64().unwrap() < in_ten_years());
        assert_eq!(other.paths().len(), asked);
        is_up.store(true, Ordering::Relaxed);
        cursor["pages"][0]["due"] = 0.into();
        let mut later = again();
        later.resume(cursor).unwrap();
        assert_eq!(run(&mut later).await.documents.len(), 1, "{failing}");
        assert_eq!(later.cursor()["pages"].as_array().map(Vec::len), Some(0));
    }
}

#[tokio::test]
async fn atom_and_json_feeds_state_their_licence_and_order() {
    let server = Server::start(|got, base| match got.path.as_str() {
        "/atom" => response(
            "200 OK",
            "",
            format!(
                "<feed xmlns='http://www.w3.org/2005/Atom'><id>f</id><title>t</title><updated>\
                 2024-01-01T00:00:00Z</updated><link rel='license' \
                 href='https://creativecommons.org/licenses/by/4.0/'/><entry><id>new</id>\
                 <title>n</title><updated>2024-01-02T00:00:00Z</updated><link href='{base}new'/>\
                 <content type='text'>new text</content></entry><entry><id>old</id><title>o\
                 </title><updated>2024-01-01T00:00:00Z</updated><link href='{base}old'/><summary>\
                 old text</summary><rights>all rights reserved</rights></entry></feed>"
            ),
        ),
        "/json" => response(
            "200 OK",
            "Link: <https://creativecommons.org/publicdomain/zero/1.0/>; rel=\"license\"\r\n",
            "{\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"t\",\"items\":[{\"id\":\
             \"1\",\"content_html\":\"<p>json text</p>\"}]}",
        ),
        _ => missing(),
    })
    .await;
    let urls = vec![server.url("/atom"), server.url("/json")];
    let filled = run(&mut feeds(urls, Follow::Never)).await;
    let texts: Vec<_> = filled.documents.iter().map(|document| document.bytes.as_slice()).collect();
    assert_eq!(texts, [&b"old text"[..], b"new text", b"<p>json text</p>"]);
    let origin = &filled.documents[0].origin;
    assert_eq!(origin.licence.as_deref(), Some("CC-BY-4.0"));
    assert_eq!(origin.signals, ["rights: all rights reserved"]);
    let origin = &filled.documents[2].origin;
    assert_eq!((&origin.part[0][..], origin.licence.as_deref()), ("1", Some("CC0-1.0")));
}

#[tokio::test]
async fn feeds_that_are_none_are_refused_and_the_others_go_on() {
    let server = Server::start(|got, base| match got.path.as_str() {
        "/good" => rss(&item("a", base, "text")),
        "/broken" => response("200 OK", "", "<rss version='2.0'><channel><item>"),
        "/page" => html("<html><body>no feed</body></html>"),
        "/loop" => redirect("/loop"),
        "/noai" => response("200 OK", "X-Robots-Tag: noindex, noai\r\n", "<rss/>"),
        "/deep" => rss(&"<b>".repeat(100_000)),
        "/flood" => Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        _ => missing(),
    })
    .await;
    let busy = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        _ => response("429 Too Many Requests", "Retry-After: 100\r\n", ""),
    })
    .await;
    let paths = ["/broken", "/page", "/loop", "/noai", "/deep", "/flood", "/none", "/good"];
    let mut urls: Vec<_> = paths.iter().map(|path| server.url(path)).collect();
    urls.push(busy.url("/feed"));
    let count = urls.len();
    let mut feeds = feeds(urls, Follow::Never);
    let mut refused = Vec::new();
    let mut documents = 0;
    for _ in 0..count {
        if let Step::Batch(batch) = feeds.next().await.unwrap() {
            documents += batch.documents.len();
            refused.extend(batch.refused);
        }
    }
    assert_eq!(documents, 1);
    let reason = |path: &str| {
        let mut refused = refused.iter();
        refused.find(|refusal| refusal.origin.location.ends_with(path)).unwrap().reason.as_str()
    };
    for path in ["/broken", "/page", "/deep"] {
        assert!(reason(path).contains("no feed"), "{path}: {}", reason(path));
    }
    assert!(reason("/loop").contains("without an end"));
    assert_eq!(reason("/noai"), "x-robots-tag: noai");
    assert!(reason("/flood").contains("larger"));
    assert!(reason("/none").contains("404"));
    assert!(refused.iter().any(|refusal| refusal.reason.contains("is away or busy")));
    assert_eq!(refused.len(), 8);
}

#[tokio::test]
async fn a_clock_that_jumps_delays_a_feed_by_an_interval_at_most() {
    let server = Server::start(|got, base| match got.path.as_str() {
        "/feed" => rss(&item("a", base, "text")),
        _ => missing(),
    })
    .await;
    let url = server.url("/feed");
    let mut first = quick_feeds(vec![url.clone()]);
    assert_eq!(run(&mut first).await.end, End::Idle);
    for (due, most_seconds) in [(0, 0u32), (in_ten_years(), 2), (u64::MAX, 2)] {
        let mut cursor = first.cursor();
        let saved = &mut cursor["feeds"][url.as_str()]["due"];
        assert!(saved.is_u64(), "{saved}");
        *saved = due.into();
        let mut later = quick_feeds(vec![url.clone()]);
        later.resume(cursor).unwrap();
        let (before, waited) = (server.pages().len(), wait_for_batch(&mut later).await);
        assert!(waited <= most_seconds * SECOND, "{due}: {waited:?}");
        assert_eq!(server.pages().len(), before + 1, "{due}");
        let next = later.cursor()["feeds"][url.as_str()]["due"].as_u64().unwrap();
        assert!((1..in_ten_years()).contains(&next), "{next}");
    }
}

#[tokio::test]
async fn options_are_checked() {
    let feeds = |urls, min_interval| {
        let options = FeedOptions { min_interval, ..FeedOptions::new("news", urls) };
        Feeds::new(Visitor::new(client()), options).err()
    };
    let url = Url::parse("https://example.org/feed").unwrap();
    for error in [
        feeds(vec![], SECOND),
        feeds(vec![url.clone()], Duration::ZERO),
        feeds(vec![url.clone()], Duration::MAX),
    ] {
        assert!(matches!(error, Some(SourceError::InvalidOption(_))));
    }
    assert!(feeds(vec![url], SECOND).is_none());
}
