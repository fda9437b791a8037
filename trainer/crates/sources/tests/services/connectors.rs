// SPDX-License-Identifier: Apache-2.0

//! Services with an interface of their own, in the shapes of their documentation.

use crate::sink::Memory;
use pol_mock_services::{Response, Server, arxiv_feed, stack_post};
use pol_sources::{
    End,
    connectors::{
        Arxiv, Connector, Endpoint, Failure, GithubReadmes, HackerNews, Mastodon, PubmedCentral,
        Service, StackExchange,
    },
    http::{HttpClient, HttpOptions},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// Returns a client that reaches this machine and does not wait.
pub(crate) fn client() -> HttpClient {
    let mut options = HttpOptions::new("https://example.org/tests");
    options.allowed_hosts.insert("127.0.0.1".into());
    options.host_delay = Duration::ZERO;
    options.retry_wait = Duration::from_millis(1);
    HttpClient::new(options).unwrap()
}

fn at(server: &Server) -> Endpoint {
    Endpoint::new(&server.address, Duration::ZERO)
}

/// Fills a store from `service` until it has nothing new.
fn read<S: Service>(service: S) -> (End, Memory) {
    let mut store = Memory::default();
    let end = store.fill(&mut Connector::new(service, client())).unwrap();
    (end, store)
}

/// Lets the time pass that the service of a store wants to wait.
fn end_wait(store: &mut Memory) {
    let cursor = &mut store.cursor.as_mut().unwrap()["cursor"];
    assert!(cursor["not_before"].is_u64(), "{cursor}");
    cursor["not_before"] = 0.into();
}

/// Returns the failure of the first page.
fn failure<S: Service>(mut service: S) -> Failure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let page = runtime.block_on(async { service.page(&client(), &S::Place::default()).await });
    page.err().expect("there is a page")
}

#[track_caller]
fn is_busy(failure: Failure, seconds: u64) {
    match failure {
        Failure::Busy(time) => assert_eq!(time.as_secs(), seconds),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_refusal(failure: Failure, words: &str) {
    match failure {
        Failure::Service(reason) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Returns an answer of arXiv with the papers of `numbers` out of `total`.
fn papers(numbers: std::ops::Range<u64>, total: u64) -> String {
    let paper = |number| {
        let summary = format!("  An abstract\nof {number} < 1000.\n");
        (number, format!("Paper\n  {number}"), summary)
    };
    arxiv_feed(numbers.map(paper), total)
}

#[test]
fn abstracts_of_arxiv_come_in_pages() {
    let server = Server::start(|request| {
        let start: u64 = request.parameter("start").unwrap().parse().unwrap();
        Response::new(200, papers(start..150.min(start + 100), 150))
            .with("Content-Type", "application/atom+xml")
    });
    let (end, store) = read(Arxiv::new(at(&server), "cat:cs.CL"));
    assert_eq!((end, store.documents.len()), (End::Idle, 150));
    let document = &store.documents[149];
    assert_eq!(document.bytes, b"Paper 149\n\nAn abstract of 149 < 1000.");
    assert_eq!(document.origin.source, "arxiv");
    assert_eq!(document.origin.location, "http://arxiv.org/abs/2401.00149v1");
    assert_eq!(document.origin.licence.as_deref(), Some("CC0-1.0"));
    let paths = server.paths();
    assert_eq!(paths.len(), 2);
    assert!(paths[0].contains("search_query=cat%3Acs.CL") && paths[0].contains("submittedDate"));
}

#[test]
fn arxiv_says_what_is_wrong() {
    let feed = papers(0..1, 1)
        .replace("arxiv.org/abs/2401.00000v1", "arxiv.org/api/errors#bad")
        .replace("Paper\n  0", "Error");
    let server = Server::start(move |_| Response::new(200, feed.clone()));
    is_refusal(failure(Arxiv::new(at(&server), "x")), "refuses the search: An abstract");
    let server = Server::start(|_| Response::new(200, papers(0..3, 150)));
    is_busy(failure(Arxiv::new(at(&server), "x")), 60);
    let server = Server::start(|_| Response::new(500, "Rate exceeded."));
    is_refusal(failure(Arxiv::new(at(&server), "x")), "status 500");
}

/// Returns an article of PubMed Central that was changed on a day of May 2024.
fn article(number: u32, day: u32, licence: &str) -> String {
    format!(
        "<record><header><identifier>oai:pubmedcentral.nih.gov:{number}</identifier>\
         <datestamp>2024-05-{day:02}</datestamp></header><metadata><article xmlns:xlink='x'>\
         <front><article-meta><permissions><license xlink:href='{licence}'/></permissions>\
         </article-meta></front><body><p>Text {number}.</p></body></article></metadata>\
         </record>"
    )
}

/// Returns an answer of PubMed Central.
fn articles(records: &str) -> Response {
    Response::new(200, format!("<OAI-PMH><ListRecords>{records}</ListRecords></OAI-PMH>"))
}

const BY: &str = "https://creativecommons.org/licenses/by/4.0/";

#[test]
fn articles_of_pubmed_central_follow_tokens() {
    let server = Server::start(|request| match request.parameter("resumptionToken") {
        None => {
            let records = article(1, 1, BY) + &article(2, 2, "https://example.org/terms");
            articles(&(records + "<resumptionToken>t1</resumptionToken>"))
        }
        Some(_) => articles(&article(3, 3, BY)),
    });
    let (end, store) = read(PubmedCentral::new(at(&server), None));
    assert_eq!((end, store.texts()), (End::Idle, vec!["Text 1.".into(), "Text 3.".into()]));
    let origin = &store.documents[1].origin;
    assert_eq!(origin.location, "https://pmc.ncbi.nlm.nih.gov/articles/PMC3/");
    assert_eq!(origin.licence.as_deref(), Some("CC-BY-4.0"));
    assert!(store.refused[0].reason.contains("no licence"));
    let server =
        Server::start(|_| Response::new(200, "<OAI-PMH><error code='badVerb'/></OAI-PMH>"));
    is_refusal(failure(PubmedCentral::new(at(&server), None)), "badVerb");
}

#[test]
fn articles_of_a_day_are_read_once_in_several_runs() {
    let is_later = Arc::new(AtomicBool::new(false));
    let later = is_later.clone();
    // The day from which articles are asked for belongs to the answer.
    let server = Server::start(move |request| match request.parameter("from") {
        Some("2024-05-03") if later.load(Ordering::Relaxed) => {
            articles(&(article(3, 3, BY) + &article(33, 3, BY) + &article(4, 4, BY)))
        }
        Some("2024-05-03") => articles(&article(3, 3, BY)),
        Some("2024-05-04") => articles(&article(4, 4, BY)),
        Some(_) => Response::new(200, "<OAI-PMH><error code='noRecordsMatch'/></OAI-PMH>"),
        None => articles(&(article(1, 1, BY) + &article(3, 3, BY))),
    });
    let (end, mut store) = read(PubmedCentral::new(at(&server), None));
    assert_eq!((end, store.documents.len()), (End::Idle, 2));
    // Returns the number of requests of another run, and that of all documents.
    let again = |store: &mut Memory| {
        let requests = server.paths().len();
        let mut source = Connector::new(PubmedCentral::new(at(&server), None), client());
        assert_eq!(store.fill(&mut source).unwrap(), End::Idle);
        (server.paths().len() - requests, store.documents.len())
    };
    // It has to wait for a day, and asks for what changed since then.
    assert_eq!(again(&mut store), (0, 2));
    end_wait(&mut store);
    assert_eq!(again(&mut store), (1, 2));
    assert!(server.paths().last().unwrap().contains("from=2024-05-03"));
    // Articles that came later on that day are new.
    is_later.store(true, Ordering::Relaxed);
    end_wait(&mut store);
    assert_eq!(again(&mut store), (1, 4));
    assert_eq!(store.texts()[2..], ["Text 33.", "Text 4."]);
    end_wait(&mut store);
    assert_eq!(again(&mut store), (1, 4));
    assert!(server.paths().last().unwrap().contains("from=2024-05-04"));
}

/// Returns an item of Hacker News.
fn item(number: u64) -> Value {
    match number {
        1 => json!({"id": 1, "type": "story", "by": "pg", "time": 1_160_418_111,
            "title": "Ask HN: Why?", "text": "First.<p>Second."}),
        2 => json!({"id": 2, "type": "comment", "parent": 1, "text": "It&#x27;s so"}),
        3 => json!({"id": 3, "type": "comment", "deleted": true}),
        4 => Value::Null,
        5 => json!({"id": 5, "type": "story", "title": "Link", "url": "http://x"}),
        _ => json!({"id": number, "type": "comment", "text": format!("Item {number}")}),
    }
}

/// Returns the number of the item that a request of Hacker News is for, if it is for one.
fn item_number(path: &str) -> Option<u64> {
    path.strip_prefix("/v0/item/")?.strip_suffix(".json")?.parse().ok()
}

#[test]
fn items_of_hacker_news_come_in_order() {
    let server = Server::start(|request| match item_number(&request.path) {
        Some(number) => Response::json(&item(number)),
        None if request.path == "/v0/maxitem.json" => Response::json(&json!(104)),
        None => Response::new(404, ""),
    });
    let (end, store) = read(HackerNews::new(at(&server), 1));
    assert_eq!(end, End::Idle);
    let texts = store.texts();
    assert!(texts[0].starts_with("Ask HN: Why?\n\nFirst.") && texts[0].ends_with("Second."));
    assert_eq!(texts[1..3], ["It's so", "Item 6"]);
    assert_eq!(texts.len(), 101);
    assert_eq!(store.documents[1].origin.location, "https://news.ycombinator.com/item?id=2");
    assert_eq!(store.refused.len(), 3);
    let server = Server::start(|_| Response::new(200, "<html>no JSON</html>"));
    is_refusal(failure(HackerNews::new(at(&server), 1)), "something else than documented");
}

#[test]
fn items_of_hacker_news_that_are_not_visible_yet_come_later() {
    let is_visible = Arc::new(AtomicBool::new(false));
    let visible = is_visible.clone();
    let server = Server::start(move |request| match item_number(&request.path) {
        Some(8) if !visible.load(Ordering::Relaxed) => Response::json(&Value::Null),
        Some(number) => Response::json(&item(number)),
        None => Response::json(&json!(9)),
    });
    let (end, mut store) = read(HackerNews::new(at(&server), 6));
    assert_eq!((end, store.texts()), (End::Idle, vec!["Item 6".into(), "Item 7".into()]));
    for texts in [2, 4] {
        end_wait(&mut store);
        let mut source = Connector::new(HackerNews::new(at(&server), 6), client());
        assert_eq!(store.fill(&mut source).unwrap(), End::Idle);
        assert_eq!(store.documents.len(), texts);
        is_visible.store(true, Ordering::Relaxed);
    }
    assert_eq!(store.texts()[2..], ["Item 8", "Item 9"]);
    assert!(store.refused.is_empty(), "{:?}", store.refused);
    // The newest number is asked again, since an item may never appear.
    let asked = server.paths().into_iter().filter(|path| path.contains("maxitem"));
    assert_eq!(asked.count(), 3);
}

#[test]
fn a_failure_of_hacker_news_loses_no_item() {
    let failures = AtomicU32::new(0);
    let server = Server::start(move |request| match item_number(&request.path) {
        Some(7) if failures.fetch_add(1, Ordering::Relaxed) < 2 => {
            Response::new(500, "").with("Retry-After", "0")
        }
        Some(number) => Response::json(&item(number)),
        None => Response::json(&json!(8)),
    });
    let (end, store) = read(HackerNews::new(at(&server), 6));
    assert_eq!((end, store.texts().len(), store.refused.len()), (End::Idle, 3, 0));
    // One that lasts ends the run, and the next one goes on at the item.
    let server = Server::start(|request| match item_number(&request.path) {
        Some(7) => Response::new(500, "").with("Retry-After", "0"),
        Some(number) => Response::json(&item(number)),
        None => Response::json(&json!(8)),
    });
    let (end, store) = read(HackerNews::new(at(&server), 6));
    assert_eq!((end, store.texts().len(), store.refused.len()), (End::Idle, 1, 0));
    assert_eq!(store.cursor.unwrap()["cursor"]["place"]["next"], 7);
    let server = Server::start(|request| match item_number(&request.path) {
        Some(_) => Response::new(500, ""),
        None => Response::json(&json!(8)),
    });
    is_busy(failure(HackerNews::new(at(&server), 6)), 60);
}

fn post(number: u64) -> Value {
    stack_post(number, "T", &format!("Body {number}"))
}

#[test]
fn posts_of_stack_exchange_wait_as_asked() {
    let server = Server::start(|request| match request.parameter("page") {
        Some("1") => Response::json(&json!({"items": [post(1)], "has_more": true,
            "backoff": 0, "quota_max": 300, "quota_remaining": 299})),
        _ => Response::json(&json!({"items": [post(2)], "has_more": false,
            "quota_max": 300, "quota_remaining": 298})),
    });
    let service = StackExchange::new(at(&server), "stackoverflow", Some("k".into()));
    let (end, store) = read(service);
    assert_eq!((end, store.texts()), (End::Idle, vec!["T\n\nBody 1".into(), "T\n\nBody 2".into()]));
    let origin = &store.documents[0].origin;
    assert_eq!(origin.source, "stack-exchange/stackoverflow");
    assert_eq!(origin.licence.as_deref(), Some("CC-BY-SA-4.0"));
    assert!(server.paths()[0].contains("key=k") && server.paths()[0].contains("filter=withbody"));
    assert_eq!(store.cursor.unwrap()["cursor"]["place"]["from"], 1_600_000_003_u64);
}

#[test]
fn stack_exchange_limits_requests() {
    let error = |name: &str, message: &str| {
        let body = json!({"error_id": 502, "error_name": name, "error_message": message});
        let server = Server::start(move |_| Response::new(400, body.to_string()));
        failure(StackExchange::new(at(&server), "x", None))
    };
    let message = "too many requests from this IP, more requests available in 4711 seconds";
    is_busy(error("throttle_violation", message), 4711);
    is_refusal(error("bad_parameter", "site is required"), "bad_parameter: site is required");
    // A used-up quota ends the run after its last page.
    let server = Server::start(|_| {
        Response::json(&json!({"items": [post(1)], "has_more": true, "quota_remaining": 0}))
    });
    let (end, store) = read(StackExchange::new(at(&server), "x", None));
    assert_eq!((end, store.documents.len()), (End::Idle, 1));
}

fn status(number: u64, indexable: bool) -> Value {
    json!({"id": number.to_string(), "created_at": "2024-01-01T00:00:00.000Z",
        "visibility": "public", "reblog": null, "spoiler_text": "", "language": "en",
        "content": format!("<p>Status <span>{number}</span></p>"),
        "url": format!("https://example.social/@a/{number}"), "uri": "u",
        "account": {"id": "1", "acct": "a", "bot": false, "note": "", "noindex": false,
            "indexable": indexable}})
}

#[test]
fn statuses_of_mastodon_respect_their_authors() {
    let server = Server::start(|request| {
        let next = "<http://x/api/v1/timelines/public?min_id=12>; rel=\"prev\"";
        match request.parameter("min_id") {
            None => Response::json(&json!([status(12, true), status(11, false), status(10, true)]))
                .with("Link", format!("<http://x/?max_id=10>; rel=\"next\", {next}"))
                .with("X-RateLimit-Remaining", "299"),
            Some("12") => Response::json(&json!([status(13, true)])),
            Some(_) => Response::json(&json!([])),
        }
    });
    let (end, store) = read(Mastodon::new(at(&server), None));
    assert_eq!(end, End::Idle);
    assert_eq!(store.texts(), ["Status 10", "Status 12", "Status 13"]);
    let origin = &store.documents[0].origin;
    assert_eq!(origin.location, "https://example.social/@a/10");
    assert_eq!(origin.signals, ["mastodon: indexable true", "mastodon: noindex false"]);
    assert!(store.refused[0].reason.contains("search engines"));
    assert!(server.paths()[2].contains("min_id=13"));
}

#[test]
fn mastodon_limits_requests() {
    let server = Server::start(|_| {
        Response::new(429, "{\"error\": \"Too many requests\"}")
            .with("Date", "Mon, 01 Jan 2024 00:00:00 GMT")
            .with("X-RateLimit-Reset", "2024-01-01T00:02:05.000000Z")
    });
    is_busy(failure(Mastodon::new(at(&server), None)), 125);
    let server = Server::start(|_| Response::new(422, "{}"));
    is_refusal(failure(Mastodon::new(at(&server), None)), "only to members");
}

fn repository(name: &str, licence: &str) -> Value {
    json!({"full_name": name, "private": false, "fork": false,
        "license": {"key": "x", "spdx_id": licence}})
}

#[test]
fn readmes_of_github_have_the_licence_of_their_repository() {
    let server = Server::start(|request| match request.path.split('?').next().unwrap() {
        "/search/repositories" if request.parameter("page") == Some("1") => {
            Response::json(&json!({"total_count": 3, "incomplete_results": false, "items": [
                repository("a/one", "MIT"), repository("a/none", "NOASSERTION"),
                repository("a/gone", "Apache-2.0")]}))
        }
        "/search/repositories" => Response::json(&json!({"total_count": 3, "items": []})),
        "/repos/a/one/readme" => {
            assert_eq!(request.header("accept"), Some("application/vnd.github.raw+json"));
            assert_eq!(request.header("authorization"), Some("Bearer secret"));
            Response::new(200, "# One\n\nText.\n")
        }
        _ => Response::new(404, "{\"message\": \"Not Found\"}"),
    });
    let endpoint = Endpoint { token: Some("secret".into()), ..at(&server) };
    let (end, store) = read(GithubReadmes::new(endpoint, "license:mit stars:>10"));
    assert_eq!((end, store.texts()), (End::Done, vec!["# One\n\nText.\n".into()]));
    let document = &store.documents[0];
    assert_eq!(document.origin.location, "https://github.com/a/one#readme");
    assert_eq!(document.origin.licence.as_deref(), Some("MIT"));
    assert_eq!(document.media.as_deref(), Some("text/markdown; charset=utf-8"));
    let reasons: Vec<_> = store.refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!(reasons, ["it states no licence that is known", "it has no README"]);
    // The search has ended for later runs, too.
    let mut store = store;
    let requests = server.paths().len();
    let service = GithubReadmes::new(at(&server), "license:mit stars:>10");
    assert_eq!(store.fill(&mut Connector::new(service, client())).unwrap(), End::Done);
    assert_eq!(server.paths().len(), requests);
}

#[test]
fn github_limits_requests() {
    let answer = |status: u16, headers: &'static [(&'static str, &'static str)]| {
        let server = Server::start(move |_| {
            let response = Response::new(status, "{\"message\": \"API rate limit exceeded\"}");
            headers.iter().fold(response, |response, (name, value)| response.with(name, *value))
        });
        failure(GithubReadmes::new(at(&server), "x"))
    };
    is_busy(answer(403, &[("Retry-After", "42")]), 42);
    is_busy(answer(403, &[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1")]), 0);
    is_busy(answer(429, &[]), 60);
    is_busy(answer(502, &[]), 60);
    is_busy(answer(503, &[("Retry-After", "5")]), 5);
    is_refusal(answer(401, &[]), "GITHUB_TOKEN");
    is_refusal(answer(422, &[]), "does not understand the search");
}

#[test]
fn a_failure_of_github_loses_no_readme() {
    let failures = AtomicU32::new(0);
    let server = Server::start(move |request| match request.path.split('?').next().unwrap() {
        "/search/repositories" if request.parameter("page") == Some("1") => {
            let items = ["a/one", "a/two", "a/three"].map(|name| repository(name, "MIT"));
            Response::json(&json!({"total_count": 3, "items": items}))
        }
        "/search/repositories" => Response::json(&json!({"total_count": 3, "items": []})),
        "/repos/a/two/readme" if failures.fetch_add(1, Ordering::Relaxed) < 2 => {
            Response::new(502, "").with("Retry-After", "0")
        }
        path => Response::new(200, path),
    });
    let (end, store) = read(GithubReadmes::new(at(&server), "license:mit"));
    assert_eq!((end, store.refused.len()), (End::Done, 0));
    let texts = ["one", "two", "three"].map(|name| format!("/repos/a/{name}/readme"));
    assert_eq!(store.texts(), texts);
}

#[test]
fn a_place_belongs_to_one_choice() {
    let server = Server::start(|_| Response::new(200, papers(0..1, 1)));
    let (_, mut store) = read(Arxiv::new(at(&server), "cat:cs.CL"));
    let mut other = Connector::new(Arxiv::new(at(&server), "cat:math.CO"), client());
    let error = store.fill(&mut other).unwrap_err().to_string();
    assert!(error.contains("cat:cs.CL") && error.contains("another folder"), "{error}");
}
