//! A PostgreSQL database for one test.

use brigade_core::testing::skip_test;
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::ok;

/// The address of a PostgreSQL server for tests, as a superuser. Empty if these tests run elsewhere.
const VARIABLE: &str = "BRIGADE_TEST_POSTGRES";

/// The address of a new and empty database on the server that the environment variable `BRIGADE_TEST_POSTGRES` names. Without
/// a server, the test `name` is skipped and reports that. The database is deleted with the server.
///
/// # Panics
///
/// If the server does not create the database.
pub async fn postgres_database(name: &str) -> Option<String> {
    match std::env::var(VARIABLE) {
        Ok(server) if server.is_empty() => None,
        Ok(server) => {
            let database = format!("brigade_test_{}", Uuid::new_v4().simple());
            let (client, connection) = ok(tokio_postgres::connect(&server, NoTls).await, "the server must answer");
            let create = format!("CREATE DATABASE {database}");
            let created = async move { client.batch_execute(&create).await };
            let (created, _) = tokio::join!(created, connection);
            ok(created, "the database must be created");
            let (address, _) = server.rsplit_once('/')?;
            Some(format!("{address}/{database}"))
        }
        Err(_) => {
            skip_test(name, &format!("{VARIABLE} has no address of a PostgreSQL server"));
            None
        }
    }
}
