//! The embedded DynamoDB: opens its file, makes the template's tables in it and serves them on
//! loopback, so that the code under test is the ordinary AWS SDK.
//!
//! Commits are not waited for to reach the disk (SQLite `synchronous = NORMAL` with its
//! write-ahead log): what was acknowledged survives the end of the process, however sudden, and
//! a failing machine may lose the last moments, which a development store may. Measured as in
//! `Table::create_request`: 3,200 pairs of writes a second, against 1,190 with an fsync each.
//!
//! The engine's own expiry of items stays off: it reads the machine's clock, not the stack's.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread::JoinHandle,
    time::Duration,
};

use dynoxide::{Database, DynoxideError, actions::describe_table::DescribeTableRequest};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
};

use crate::template::Table;

/// How long requests under way may still take when the engine stops.
const STOP_MAX: Duration = Duration::from_secs(1);
/// Connections that may wait to be taken: a test opens hundreds at once.
const BACKLOG: u32 = 1024;

/// The running engine; dropping it stops it.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the engine cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database.
    #[error("the database cannot be used: {0}")]
    Database(#[from] DynoxideError),
    /// The table in the file is not the template's.
    #[error(
        "the table {0} in the data folder has other keys or indexes than template.yaml says: delete the folder, \
         or choose another with --data-dir"
    )]
    OtherTemplate(String),
    /// What the engine does not take for a table.
    #[error("the table {table} cannot be made")]
    Table {
        /// The table.
        table: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Its thread or socket.
    #[error("the engine cannot be served")]
    Serve(#[from] io::Error),
}

impl Engine {
    /// Opens `file`, makes the tables that it does not have yet, and serves it.
    pub fn start(file: &Path, tables: &[Table]) -> Result<Self, EngineError> {
        let database = Database::new(&file.to_string_lossy())?;
        // In the engine this is the name for `synchronous = NORMAL` and defaults for the rest.
        database.disable_bulk_loading()?;
        for table in tables {
            create(&database, table)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            listen(0)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        // The engine blocks the thread it runs on for each request, so it has its own.
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || runtime.block_on(serve(listener, database, stopped)))?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Engine {
    /// Returns when the file is closed, so that it can be opened again or deleted.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}

async fn serve(listener: TcpListener, database: Database, stopped: oneshot::Receiver<()>) {
    let (stopping, stop) = oneshot::channel::<()>();
    let server = dynoxide::server::serve_with_shutdown(listener, database, async move {
        // Whoever drops the sender asks to stop just as well.
        stop.await.unwrap_or_default();
    });
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return report(ended),
        _ = stopped => drop(stopping),
    }
    match tokio::time::timeout(STOP_MAX, server).await {
        Ok(ended) => report(ended),
        Err(_) => tracing::warn!("the engine stopped with requests under way"),
    }
}

fn report(ended: Result<(), String>) {
    if let Err(error) = ended {
        tracing::error!(error, "the engine failed");
    }
}

/// A listener on loopback; port 0 is any free one. Sockets inherit that small packets are sent
/// at once.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

fn create(database: &Database, table: &Table) -> Result<(), EngineError> {
    let request = table.create_request();
    if database.get_table_metadata(&table.name)?.is_some() {
        let described = database.describe_table(DescribeTableRequest {
            table_name: table.name.clone(),
        })?;
        let described = json!(described.table);
        return match shape(&described) == shape(&request) {
            true => switch_stream(database, table, &described["StreamSpecification"]),
            false => Err(EngineError::OtherTemplate(table.name.clone())),
        };
    }
    database.create_table(read(table, request)?)?;
    Ok(())
}

/// Gives a table of the file the stream that the template asks for, or takes it away.
fn switch_stream(database: &Database, table: &Table, has: &Value) -> Result<(), EngineError> {
    let has = match has["StreamEnabled"] {
        Value::Bool(true) => has["StreamViewType"].as_str(),
        _ => None,
    };
    let update = |specification: Value| -> Result<(), EngineError> {
        let request = json!({"TableName": table.name, "StreamSpecification": specification});
        database.update_table(read(table, request)?)?;
        Ok(())
    };
    if has == table.stream.as_deref() {
        return Ok(());
    }
    if has.is_some() {
        update(json!({"StreamEnabled": false}))?;
    }
    match &table.stream {
        Some(view) => update(json!({"StreamEnabled": true, "StreamViewType": view})),
        None => Ok(()),
    }
}

fn read<Request: DeserializeOwned>(table: &Table, request: Value) -> Result<Request, EngineError> {
    serde_json::from_value(request).map_err(|source| EngineError::Table {
        table: table.name.clone(),
        source,
    })
}

/// Of a request or a description, what makes two tables the same, in one order.
fn shape(table: &Value) -> Value {
    let sorted = |list: &Value, by: &str| {
        let mut list = list.as_array().cloned().unwrap_or_default();
        list.sort_by_key(|item| item[by].as_str().unwrap_or_default().to_owned());
        list
    };
    let indexes: Vec<Value> = sorted(&table["GlobalSecondaryIndexes"], "IndexName")
        .iter()
        .map(|index| json!([index["IndexName"], index["KeySchema"], index["Projection"]]))
        .collect();
    json!({
        "key": table["KeySchema"],
        "attributes": sorted(&table["AttributeDefinitions"], "AttributeName"),
        "indexes": indexes,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::template::{EMBEDDED, Template};

    fn tables() -> Vec<Table> {
        let template = Template::parse(EMBEDDED, &BTreeMap::new(), "http://queues");
        template.expect("the real template").tables
    }

    #[test]
    fn a_folder_of_the_same_tables_is_used_again_whatever_reads_their_streams() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("dynamodb.sqlite");
        let mut tables = tables();
        for view in [None, Some("NEW_IMAGE"), Some("NEW_AND_OLD_IMAGES"), None] {
            for table in &mut tables {
                table.stream = view.map(str::to_owned);
            }
            Engine::start(&file, &tables).expect("started");
        }
    }

    #[test]
    fn a_folder_with_other_keys_or_indexes_is_refused_with_what_to_do() {
        let changes: [fn(&mut Table); 5] = [
            |state| drop(state.indexes.pop()),
            |state| state.indexes[0].name = "other".to_owned(),
            |state| state.indexes[0].projection = "ALL".to_owned(),
            |state| {
                state.indexes.push(crate::template::Index {
                    name: "added".to_owned(),
                    ..state.indexes[0].clone()
                })
            },
            |state| state.key.truncate(1),
        ];
        for change in changes {
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join("dynamodb.sqlite");
            let mut tables = tables();
            Engine::start(&file, &tables).expect("started");
            let state = tables.iter_mut().find(|table| table.name == "State").expect("State");
            change(state);
            let refused = Engine::start(&file, &tables).expect_err("refused").to_string();
            assert!(refused.contains("the table State in the data folder"), "{refused}");
            assert!(refused.contains("delete the folder"), "{refused}");
        }
    }
}
