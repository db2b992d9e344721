//! The sender at its boundary, against listeners on loopback. In a rule for tests the listener's
//! port is the public one: only the judgement of hosts and addresses keeps the sender away.

mod hostile;
mod sending;

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::future::BoxFuture;

use super::{Lookup, Observer, Reach, Secret, SendError, Settings, UrlFault, Webhooks, url::Rule};

/// A resolver that gives its answers one after the other, the last one for ever. None: it never answers.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Option<Vec<IpAddr>>>>,
    calls: AtomicUsize,
}

impl Script {
    fn of<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let parsed = |answer: &[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        let answers = answers.map(|answer| Some(parsed(answer)));
        Arc::new(Self {
            answers: Mutex::new(answers.into()),
            calls: AtomicUsize::new(0),
        })
    }

    fn silent() -> Arc<Self> {
        let script = Self::default();
        script.answers.lock().expect("a lock").push_back(None);
        Arc::new(script)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Lookup for Script {
    fn lookup(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("a lock");
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move {
            match answer {
                Some(Some(addresses)) if !addresses.is_empty() => Ok(addresses),
                Some(None) => std::future::pending().await,
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
            }
        })
    }
}

fn webhooks(reach: Reach, public_port: u16, lookup: Arc<Script>, observer: Option<Observer>) -> Webhooks {
    Webhooks::build(Settings {
        rule: Rule::new(reach, public_port),
        lookup,
        observer,
        connect_timeout: Duration::from_millis(300),
        total_timeout: Duration::from_millis(600),
    })
    .expect("a sender")
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// That nobody has connected so far, and that it would have been seen.
fn assert_untouched(listener: &TcpListener) {
    listener.set_nonblocking(true).expect("a listener");
    let seen = listener.accept().map(|(_, peer)| peer);
    assert_eq!(seen.expect_err("a connection").kind(), io::ErrorKind::WouldBlock);
    let _connection = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    listener.accept().expect("a connection that is seen");
}

/// What a server got.
struct Received {
    request_line: String,
    headers: http::HeaderMap,
    body: String,
}

/// Answers one request and tells what it was.
fn serve(listener: TcpListener, answer: impl Into<String>) -> JoinHandle<Received> {
    let answer = answer.into();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            line.trim_end().to_owned()
        };
        let request_line = line();
        let mut headers = http::HeaderMap::new();
        while let Some((name, value)) = line().split_once(": ") {
            let name: http::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let length = headers["content-length"]
            .to_str()
            .expect("a text")
            .parse()
            .expect("a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        stream.write_all(answer.as_bytes()).expect("an answer");
        Received {
            request_line,
            headers,
            body: String::from_utf8(body).expect("a text"),
        }
    })
}

fn secret(byte: u8) -> (String, Secret) {
    let text = Secret::generate([byte; 32]);
    let secret = Secret::parse(&text).expect("a secret");
    (text, secret)
}

async fn try_once(webhooks: &Webhooks, url: &str) -> Result<u16, SendError> {
    let now = metering_store::Context::system().now();
    webhooks.send(url, "evt_1", now, "{}", &[secret(1).1]).await
}

/// That a URL is refused for one reason, both when it is named and when it is used.
async fn assert_refused(webhooks: &Webhooks, url: &str, fault: &UrlFault) {
    assert_eq!(webhooks.check(url).await.as_ref(), Err(fault), "{url}");
    match try_once(webhooks, url).await {
        Err(error @ SendError::NotAllowed(_)) => {
            assert!(!error.retryable(), "{url}");
            assert!(matches!(error, SendError::NotAllowed(told) if told == *fault), "{url}");
        }
        other => panic!("{url}: {other:?}"),
    }
}
