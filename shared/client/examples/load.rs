//! Load for `document_service`, which counts by itself what it was served: as one JSON line at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Parser;
use serde_json::json;
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
};

/// Polls for a request that hangs, at most.
const POLLS_MAX: usize = 100_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where the service answers.
    #[arg(long)]
    service: String,
    /// How many requests.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// How many at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Of how many users.
    #[arg(long, default_value_t = 8)]
    users: usize,
    /// What chance begins with, and what documents are called after.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only documents are stored, until the service is gone.
    #[arg(long)]
    documents: bool,
    /// After half of the requests it says so, as a line of its errors, and waits for a line.
    #[arg(long)]
    half_time: bool,
}

/// What one user was served.
#[derive(Default)]
struct Served {
    counts: BTreeMap<&'static str, u64>,
    documents: Vec<String>,
    scanned: u64,
}

impl Served {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

#[tokio::main]
async fn main() {
    let arguments = Arc::new(Arguments::parse());
    let next = Arc::new(AtomicUsize::new(0));
    let served: Arc<Vec<Mutex<Served>>> = Arc::new((0..arguments.users).map(|_| Mutex::default()).collect());
    let (whistle, half) = watch::channel(!arguments.half_time);
    let mut workers = JoinSet::new();
    for worker in 0..arguments.at_once {
        let (arguments, next, served) = (Arc::clone(&arguments), Arc::clone(&next), Arc::clone(&served));
        let (whistle, mut half) = (whistle.clone(), half.clone());
        workers.spawn(async move {
            let mut chance = fastrand::Rng::with_seed(arguments.seed * 1_000 + worker as u64);
            let mut http = reqwest::Client::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= arguments.requests {
                    break;
                }
                if number == arguments.requests / 2 && arguments.half_time {
                    let whistle = whistle.clone();
                    std::thread::spawn(move || wait(&whistle));
                }
                if number >= arguments.requests / 2 {
                    // The sender lives as long as this worker.
                    let _ = half.wait_for(|is_over| *is_over).await;
                }
                let user = number % arguments.users;
                let request = Request {
                    http: &http,
                    service: &arguments.service,
                    user: format!("u{user}"),
                    id: format!("{}-{number}", arguments.seed),
                };
                let kind = if arguments.documents { 0 } else { chance.u32(0..100) };
                let outcome = request.send(kind, &mut chance).await;
                let is_gone = matches!(outcome, Outcome::Gone);
                note(&mut *served[user].lock().await, outcome, &request.id);
                if is_gone && arguments.documents {
                    break;
                }
                if is_gone {
                    http = reqwest::Client::new();
                }
            }
        });
    }
    workers.join_all().await;
    let mut report = BTreeMap::new();
    for (user, served) in served.iter().enumerate() {
        let served = served.lock().await;
        let counts = json!({"counts": served.counts, "documents": served.documents, "scanned": served.scanned});
        report.insert(format!("u{user}"), counts);
    }
    println!("{}", json!(report));
}

/// Says that half is done, and lets the others go on after a line.
fn wait(whistle: &watch::Sender<bool>) {
    eprintln!("half");
    let line = std::io::stdin().read_line(&mut String::new());
    line.expect("a line");
    whistle.send_replace(true);
}

/// What became of a request.
enum Outcome {
    /// Its handler was called; what that was.
    Handled(&'static str),
    Stored,
    Scanned(u64),
    /// Refused before the handler.
    Refused,
    /// No answer that was expected.
    Gone,
}

fn note(served: &mut Served, outcome: Outcome, id: &str) {
    match outcome {
        Outcome::Refused => return served.count("refused"),
        Outcome::Gone => return served.count("gone"),
        Outcome::Handled(kind) => served.count(kind),
        Outcome::Stored => served.documents.push(format!("stored-{id}")),
        Outcome::Scanned(pages) => served.scanned += pages,
    }
    served.count("handled");
}

struct Request<'a> {
    http: &'a reqwest::Client,
    service: &'a str,
    user: String,
    id: String,
}

impl Request<'_> {
    /// Of a hundred: 20 documents, 5 scans, 5 exports, 5 failures, 5 panics, 5 cancelled, 5 slow, 5
    /// of no route, the rest reads.
    async fn send(&self, kind: u32, chance: &mut fastrand::Rng) -> Outcome {
        match kind {
            0..20 => self.store().await,
            20..25 => self.scan(chance.u64(0..=6)).await,
            25..30 => self.export().await,
            30..35 => self.read(Some("fail"), "failed").await,
            35..40 => self.read(Some("panic"), "panicked").await,
            40..43 => self.cancel_waiting().await,
            43..45 => self.cancel_reading().await,
            45..50 => self.read(Some("slow"), "slow").await,
            50..55 => self.nothing().await,
            _ => self.read(None, "read").await,
        }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.service))
            .header("x-user", &self.user)
    }

    async fn store(&self) -> Outcome {
        let request = self
            .request(reqwest::Method::POST, "/documents")
            .header("x-document", &self.id);
        match request.body("a document").send().await {
            Ok(answer) if answer.status() == 201 => Outcome::Stored,
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => Outcome::Gone,
        }
    }

    async fn scan(&self, pages: u64) -> Outcome {
        let request = self.request(reqwest::Method::POST, "/scans").body(pages.to_string());
        match request.send().await {
            Ok(answer) => match answer.status().as_u16() {
                200 => Outcome::Scanned(pages),
                422 => Outcome::Handled("unscanned"),
                503 => Outcome::Refused,
                other => panic!("{other}"),
            },
            // A scan of nothing panics.
            Err(_) if pages == 0 => Outcome::Handled("unscanned"),
            Err(_) => Outcome::Gone,
        }
    }

    async fn export(&self) -> Outcome {
        match self.request(reqwest::Method::POST, "/exports").send().await {
            Ok(answer) if answer.status() == 200 => Outcome::Handled("exported"),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => Outcome::Gone,
        }
    }

    async fn read(&self, fault: Option<&str>, what: &'static str) -> Outcome {
        let mut request = self.request(reqwest::Method::GET, &format!("/documents/{}", self.id));
        if let Some(fault) = fault {
            request = request.header("x-fault", fault);
        }
        match request.send().await {
            Ok(answer) => match answer.bytes().await {
                Ok(_) => Outcome::Handled(what),
                Err(_) => Outcome::Gone,
            },
            Err(_) if what == "panicked" => Outcome::Handled(what),
            Err(_) => Outcome::Gone,
        }
    }

    async fn nothing(&self) -> Outcome {
        match self.request(reqwest::Method::GET, "/nothing").send().await {
            Ok(answer) if answer.status() == 404 => Outcome::Handled("nothing"),
            _ => Outcome::Gone,
        }
    }

    /// Goes away while the handler works, once it surely does.
    async fn cancel_waiting(&self) -> Outcome {
        let request = self.request(reqwest::Method::GET, &format!("/documents/{}", self.id));
        let answer = request.header("x-fault", "hang").send();
        let works = async {
            for _ in 0..POLLS_MAX {
                let asked = self
                    .request(reqwest::Method::GET, &format!("/hanging/{}", self.id))
                    .send()
                    .await;
                if asked.is_ok_and(|answer| answer.status() == 200) {
                    return;
                }
            }
        };
        tokio::select! {
            _ = answer => Outcome::Gone,
            () = works => Outcome::Handled("cancelled"),
        }
    }

    /// Goes away in the middle of the answer.
    async fn cancel_reading(&self) -> Outcome {
        let request = self.request(reqwest::Method::GET, &format!("/documents/{}", self.id));
        match request.header("x-fault", "hang-body").send().await {
            Ok(mut answer) => match answer.chunk().await {
                Ok(Some(_)) => Outcome::Handled("cancelled"),
                _ => Outcome::Gone,
            },
            Err(_) => Outcome::Gone,
        }
    }
}
