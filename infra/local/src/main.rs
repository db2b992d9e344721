//! `usage-local`: starts the local stack and says how to use it.

use std::{error::Error, io::Write as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use usage_local::{ADMIN_KEY, Options, SERVICE_KEY, Stack, demo};

/// The usage metering service on this machine: the API on an embedded DynamoDB, no account, no
/// Docker.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The port of the API on loopback; 0 is any free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The folder that keeps the data.
    #[arg(long, default_value = ".local")]
    data_dir: PathBuf,
    /// Keep nothing.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Load twelve weeks of believable usage of four customers.
    #[arg(long)]
    demo: bool,
    /// Let webhooks go to this machine, over plain HTTP and to any port.
    #[arg(long)]
    allow_local_webhooks: bool,
    /// Call functions over HTTP only: queues, streams, schedules and the bus are left to functions
    /// that run elsewhere.
    #[arg(long)]
    idle: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // The engine warns of every unmet condition, which here is a way to ask, not a fault.
    let quiet = EnvFilter::new("warn,dynoxide=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or(quiet);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usage-local: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let stack = Stack::start(Options {
        port: arguments.port,
        data_dir: (!arguments.ephemeral).then_some(arguments.data_dir),
        allow_local_webhooks: arguments.allow_local_webhooks,
        idle: arguments.idle,
    })
    .await?;
    if arguments.demo {
        demo::load(&stack, demo::DAYS, |day, of| {
            eprint!("\rloading usage: day {day} of {of}")
        })
        .await?;
        eprintln!();
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", greeting(&stack.url()))?;
    writeln!(out, "ready {}", stack.url())?;
    out.flush()?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    eprintln!("stopping");
    stack.stop().await;
    Ok(())
}

/// How to use the stack at `url`.
fn greeting(url: &str) -> String {
    format!(
        r#"The usage metering API answers at {url}

  administrator  {ADMIN_KEY}
  service        {SERVICE_KEY}

Give user 1 a subscription, count a page, see what is left:

  curl -s {url}/api/v1/usage/admin/subscriptions -H 'Authorization: Bearer {ADMIN_KEY}' -H 'Content-Type: application/json' -d '{{"user_id":"1","plan":"basic"}}'
  curl -s {url}/api/v1/usage/track -H 'Authorization: Bearer {SERVICE_KEY}' -H 'Content-Type: application/json' -d '{{"user_id":"1","metric_type":"document_processing","metric_value":1}}'
  curl -s '{url}/api/v1/usage/summary?user_id=1' -H 'Authorization: Bearer {SERVICE_KEY}'

A user's token: POST {url}/_local/token {{"user_id":"1"}}. All about this stack: GET {url}/_local
"#
    )
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
