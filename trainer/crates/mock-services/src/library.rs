// SPDX-License-Identifier: Apache-2.0

//! Works shared out among all services, at one address.

use crate::{
    HubData, Request, Response, Work, arxiv_feed, parquet, services::stack_post, site::Site,
};
use serde_json::json;

/// Name of the data set on the hub.
pub const DATASET: &str = "library/works";
/// Rows of a group in the Parquet files.
const ROW_GROUP: usize = 64;
/// Papers or posts of a page.
const PAGE: usize = 100;
/// Papers and posts there are at most.
const NEWEST: usize = 40;

/// Titles and passages.
type Passages = Vec<(String, String)>;

/// A library that is a hub of data sets, a web site with a feed, arXiv, and Stack Exchange.
pub struct Library {
    hub: HubData,
    site: Site,
    papers: Passages,
    posts: Passages,
}

impl Library {
    /// Shares works out: of eight, four go to the hub, one to the site's pages, and one each to its
    /// feed, to arXiv, and to Stack Exchange.
    #[must_use]
    pub fn new(works: Vec<Work>) -> Self {
        let mut shares: [Vec<Work>; 8] = Default::default();
        for (index, work) in works.into_iter().enumerate() {
            shares[index % 8].push(work);
        }
        let [first, news, second, pages, third, papers, fourth, posts] = shares;
        Self {
            hub: hub([first, second, third, fourth].into_iter().flatten().collect()),
            site: Site::new(pages, news),
            papers: passages(papers).take(NEWEST).collect(),
            posts: passages(posts).take(NEWEST).collect(),
        }
    }

    /// Answers a request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        match path {
            "/api/query" => self.answer_arxiv(request),
            "/2.3/posts" => self.answer_stack_exchange(request),
            _ if path.starts_with("/api/datasets/") || path.starts_with("/datasets/") => {
                self.hub.answer(request)
            }
            _ => {
                let host = request.header("host").unwrap_or("127.0.0.1");
                self.site.answer(path, &format!("http://{host}"))
            }
        }
    }

    fn answer_arxiv(&self, request: &Request) -> Response {
        let start = number(request, "start").unwrap_or(0);
        let papers = (0..).zip(&self.papers).skip(start).take(PAGE);
        let papers = papers.map(|(number, (title, text))| (number, title.clone(), text.clone()));
        let feed = arxiv_feed(papers, self.papers.len() as u64);
        Response::new(200, feed).with("Content-Type", "application/atom+xml")
    }

    fn answer_stack_exchange(&self, request: &Request) -> Response {
        let from = number(request, "fromdate").unwrap_or(0);
        let page = number(request, "page").unwrap_or(1).saturating_sub(1);
        let posts =
            (1..).zip(&self.posts).map(|(number, (title, text))| stack_post(number, title, text));
        let posts = posts.filter(|post| post["creation_date"].as_u64() >= Some(from as u64));
        let mut posts: Vec<_> = posts.skip(page.saturating_mul(PAGE)).take(PAGE + 1).collect();
        let has_more = posts.len() > PAGE;
        posts.truncate(PAGE);
        Response::json(&json!({
            "items": posts, "has_more": has_more, "quota_max": 300, "quota_remaining": 299,
        }))
    }
}

/// Returns a parameter that is a number.
fn number(request: &Request, name: &str) -> Option<usize> {
    request.parameter(name)?.parse().ok()
}

fn passages(works: Vec<Work>) -> impl Iterator<Item = (String, String)> {
    works.into_iter().flat_map(|Work { title, passages, .. }| {
        (1..).zip(passages).map(move |(number, text)| (format!("{title} ({number})"), text))
    })
}

/// Returns a hub with one data set, of a Parquet file for each work.
fn hub(works: Vec<Work>) -> HubData {
    let card = json!({"license": "cc0-1.0", "configs": [{"config_name": "default", "data_files": [
        {"split": "train", "path": "data/train-*"},
    ]}]});
    let files = works.len();
    let hub = HubData { id: DATASET.to_owned(), card, ..HubData::default() };
    works.iter().enumerate().fold(hub, |hub, (part, work)| {
        let texts: Vec<_> = work.passages.iter().map(|text| Some(text.as_str())).collect();
        let path = format!("data/train-{part:05}-of-{files:05}.parquet");
        hub.file(&path, parquet(&texts, ROW_GROUP))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn get(library: &Library, path: &str) -> (u16, String) {
        let headers = BTreeMap::from([("host".to_owned(), "127.0.0.1:9".to_owned())]);
        let response = library.answer(&Request { path: path.to_owned(), headers });
        (response.status, String::from_utf8_lossy(&response.body).into_owned())
    }

    /// Returns sixteen works, of which each has three passages that name it.
    fn library() -> Library {
        let work = |number: usize| Work {
            slug: format!("w-{number}"),
            title: format!("Work & {number}"),
            passages: (1..=3).map(|part| format!("Text {number}.{part} <\n\nEnd")).collect(),
        };
        Library::new((0..16).map(work).collect())
    }

    #[test]
    fn the_site_has_a_page_for_each_passage_of_its_works() {
        let library = library();
        let (_, robots) = get(&library, "/robots.txt");
        assert!(robots.contains("Sitemap: http://127.0.0.1:9/sitemap.xml"), "{robots}");
        let (_, sitemap) = get(&library, "/sitemap.xml");
        assert_eq!(sitemap.matches("<loc>").count(), 6, "{sitemap}");
        assert!(sitemap.contains("<loc>http://127.0.0.1:9/w-3/1</loc>"), "{sitemap}");
        let (_, index) = get(&library, "/");
        assert!(index.contains("href=\"/w-11/1\">Work &amp; 11"), "{index}");
        let (status, page) = get(&library, "/w-11/2");
        assert!(status == 200 && page.contains("<p>Text 11.2 &lt;</p>\n<p>End</p>"), "{page}");
        for path in ["/w-11/0", "/w-11/4", "/w-11/x", "/w-1/1", "/members/", "/other"] {
            assert_eq!(get(&library, path).0, 404, "{path}");
        }
        let (_, feed) = get(&library, "/feed.xml");
        assert_eq!(feed.matches("<item>").count(), 6, "{feed}");
        assert!(feed.contains("<guid>w-9-3</guid>"), "{feed}");
    }

    #[test]
    fn services_answer_in_pages() {
        let library = library();
        let (_, papers) = get(&library, "/api/query?search_query=x&start=4&max_results=100");
        assert!(papers.contains(">6</opensearch:totalResults>"), "{papers}");
        assert_eq!(papers.matches("<entry>").count(), 2, "{papers}");
        let posts = |query: &str| -> serde_json::Value {
            serde_json::from_str(&get(&library, &format!("/2.3/posts?{query}")).1).unwrap()
        };
        assert_eq!(posts("page=1&fromdate=0")["items"].as_array().map(Vec::len), Some(6));
        assert_eq!(posts("page=1&fromdate=1600000006")["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(posts("page=2&fromdate=0")["has_more"], false);
    }

    #[test]
    fn the_hub_lists_the_files_of_the_data_set() {
        let (status, set) = get(&library(), "/api/datasets/library/works/revision/main");
        assert!(status == 200 && set.contains("cc0-1.0"), "{set}");
        let (_, files) = get(&library(), "/api/datasets/library/works/tree/main/data");
        assert_eq!(files.matches("parquet\"").count(), 8, "{files}");
        assert_eq!(get(&library(), "/api/datasets/org/set/revision/main").0, 404);
    }
}
