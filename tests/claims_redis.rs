//! The store of claims against real redis-servers: the shared conformance suite, and what only a server can do to us.

#[path = "support/claims_conformance.rs"]
mod claims_conformance;
use kafka_once as once;

#[path = "support/claims_servers.rs"]
mod servers;

#[path = "support/proxy.rs"]
#[allow(dead_code)] // other tests need more of it
mod proxy;

use std::time::Duration;

use claims_conformance::World;
use once::adapters::claims::redis::keys::Keys;
use once::adapters::claims::redis::{Address, RedisClaims, RedisConfig, TlsConfig, Topology};
use once::domain::claim::{ClaimValue, Digest, IdHash, SessionId, Stored};
use once::domain::claim_codec::encode;
use once::domain::record::{Offset, Position, TopicPartition};
use once::ports::{ClaimBatch, ClaimCommand, ClaimReply, Claims, StoreError};
use proxy::Proxy;
use servers::{Server, certify, cluster};

const NAMESPACE: &str = "orders:{eu}";
const KEEP: Duration = Duration::from_secs(3600);
/// Tries until a store that was away answers; each waits for the store's timeout, none sleeps.
const TRIES: usize = 40;

fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

fn config(topology: Topology) -> RedisConfig {
    RedisConfig {
        topology,
        tls: None,
        user: None,
        password: None,
        db: 0,
        timeout: Duration::from_millis(500),
        namespace: NAMESPACE.to_owned(),
    }
}

fn single(port: u16) -> RedisConfig {
    config(Topology::Single(address(port)))
}

fn start(config: &RedisConfig) -> RedisClaims {
    RedisClaims::start(config).expect("settings that can be used")
}

fn id(number: u32) -> IdHash {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    IdHash(bytes)
}

fn done(offset: i64) -> ClaimValue {
    let position = Position { partition: 0, offset: Offset(offset), timestamp: 1 };
    ClaimValue::Done { position, digest: Digest([1; 16]) }
}

fn claim(number: u32) -> ClaimCommand {
    ClaimCommand::Claim { id: id(number), value: done(i64::from(number)), keep: KEEP }
}

fn was(number: u32) -> ClaimReply {
    ClaimReply::Was(Stored::Value(done(i64::from(number))))
}

const NEW: ClaimReply = ClaimReply::Was(Stored::Nothing);

/// Asks again until the store is not away.
async fn until_there(store: &RedisClaims, commands: Vec<ClaimCommand>) -> ClaimBatch {
    let mut last = None;
    for _ in 0..TRIES {
        match store.batch(commands.clone()).await {
            Ok(answer) => return answer,
            Err(error) => last = Some(error),
        }
    }
    panic!("still away after {TRIES} tries: {last:?}");
}

/// Asks again until the store is away, and says why it is.
async fn until_away(store: &RedisClaims, commands: Vec<ClaimCommand>) -> String {
    for _ in 0..TRIES {
        match store.batch(commands.clone()).await {
            Ok(_) => {}
            Err(StoreError::Away(why)) => return why,
            Err(refused) => panic!("refused instead of away: {refused}"),
        }
    }
    panic!("never away in {TRIES} tries");
}

/// The store's first answer, which must be a refusal.
async fn refusal(config: &RedisConfig) -> String {
    let store = start(config);
    for _ in 0..TRIES {
        match store.batch(vec![claim(0)]).await {
            Ok(_) => panic!("not refused"),
            Err(StoreError::Refused(why)) => return why,
            Err(StoreError::Away(_)) => {}
        }
    }
    panic!("never refused in {TRIES} tries");
}

// ---- conformance ---------------------------------------------------------------------------------------------------

struct Real {
    server: Server,
    keys: Keys,
}

impl Real {
    fn key(&self, id: IdHash) -> Vec<u8> {
        let mut key = Vec::new();
        self.keys.id(id, &mut key);
        key
    }

    fn remaining(&self, key: &[u8]) -> Option<Duration> {
        let millis: i64 = self.server.ask(redis::cmd("PTTL").arg(key));
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    /// Ends a key's life as its expiry does: by the server, at a given time.
    fn expire(&self, key: &[u8]) {
        let there: i64 = self.server.ask(redis::cmd("PEXPIREAT").arg(key).arg(1));
        assert_eq!(there, 1, "the key was there");
    }
}

impl World for Real {
    type Store = RedisClaims;

    async fn client(&self) -> RedisClaims {
        start(&single(self.server.port))
    }
    async fn plant_garbage(&self, id: IdHash) {
        self.server.tell(redis::cmd("SET").arg(self.key(id)).arg(b"\xff garbage"));
    }
    async fn plant_other_type(&self, id: IdHash) {
        self.server.tell(redis::cmd("RPUSH").arg(self.key(id)).arg("a list"));
    }
    async fn plant_past(&self, partition: &TopicPartition, bytes: &[u8]) {
        self.server.tell(redis::cmd("SET").arg(self.keys.past(partition)).arg(bytes));
    }
    async fn forget_all(&self) {
        self.server.tell(&redis::cmd("FLUSHALL"));
    }
    async fn remaining(&self, id: IdHash) -> Option<Duration> {
        self.remaining(&self.key(id))
    }
    async fn session_remaining(&self, session: SessionId) -> Option<Duration> {
        self.remaining(self.keys.session(session).as_bytes())
    }
    async fn expire(&self, id: IdHash) {
        self.expire(&self.key(id));
    }
    async fn expire_session(&self, session: SessionId) {
        self.expire(self.keys.session(session).as_bytes());
    }
}

#[tokio::test]
async fn redis_keeps_the_protocol() {
    let world = Real { server: Server::start(&[]), keys: Keys::new(NAMESPACE) };
    claims_conformance::every_case(&world).await;
}

#[tokio::test]
async fn a_value_of_a_newer_revision_is_read_and_replaced() {
    let server = Server::start(&[]);
    let store = start(&single(server.port));
    let mut key = Vec::new();
    Keys::new(NAMESPACE).id(id(0), &mut key);
    let newer = |value: &ClaimValue| {
        let mut bytes = encode(value);
        bytes[0] += 1;
        bytes.extend_from_slice(b"appended");
        bytes
    };
    let replace = ClaimCommand::Replace { id: id(0), expected: done(1), value: done(2), keep: KEEP };
    for (stored, reply, now) in [
        (newer(&done(1)), ClaimReply::Replaced, done(2)),
        (newer(&done(2)), ClaimReply::Replaced, done(2)),
        (newer(&done(3)), ClaimReply::NotReplaced(Stored::Value(done(3))), done(3)),
    ] {
        server.tell(redis::cmd("SET").arg(&key).arg(stored));
        let answer = store.batch(vec![replace, ClaimCommand::Look { id: id(0) }]).await.expect("an answer");
        assert_eq!(answer.replies, [reply, ClaimReply::Was(Stored::Value(now))]);
    }
    server.tell(redis::cmd("SET").arg(&key).arg([encode(&done(1)), b"x".to_vec()].concat()));
    let answer = store.batch(vec![replace]).await.expect("an answer");
    assert_eq!(answer.replies, [ClaimReply::NotReplaced(Stored::Foreign)], "longer, but of no newer revision");
}

// ---- refused -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_told() {
    let server = Server::start(&["--requirepass", "right-secret"]);
    let wrong = RedisConfig { password: Some("wrong-secret".to_owned()), ..single(server.port) };
    let wrong_user = RedisConfig { user: Some("nobody".to_owned()), ..wrong.clone() };
    for config in [wrong, wrong_user, single(server.port)] {
        let why = refusal(&config).await;
        assert!(why.contains(&format!("127.0.0.1:{}", server.port)), "{why}");
        assert!(!why.contains("secret"), "{why}");
    }
    let right = RedisConfig { password: Some("right-secret".to_owned()), ..single(server.port) };
    assert_eq!(until_there(&start(&right), vec![claim(0)]).await.replies, [NEW]);
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_away_and_not_refusing() {
    let server = Server::start(&["--requirepass", "pw"]);
    let mut only = server.connection().expect("a connection");
    let mut room_for = |clients: i32| {
        redis::cmd("AUTH").arg("pw").exec(&mut only).expect("the password");
        redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(clients).exec(&mut only).expect("a setting");
    };
    room_for(1);
    let store = start(&RedisConfig { password: Some("pw".to_owned()), ..single(server.port) });
    // Redis closes at once: whether its reason or the broken pipe is seen first is chance.
    until_away(&store, vec![claim(0)]).await;
    room_for(100);
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_refused() {
    let server = Server::start(&[]);
    let why = refusal(&RedisConfig { db: 99, ..single(server.port) }).await;
    assert!(why.contains("DB index is out of range"), "{why}");
    assert_eq!(until_there(&start(&RedisConfig { db: 9, ..single(server.port) }), vec![claim(0)]).await.replies, [NEW]);
    let keys: String = server.ask(redis::cmd("INFO").arg("keyspace"));
    assert!(keys.contains("db9:keys=1") && !keys.contains("db0"), "{keys}");
}

#[tokio::test]
async fn a_user_who_may_not_see_info_has_a_history_without_replication() {
    let server = Server::start(&[]);
    let rules = ["on", ">pw", "~once:*", "+set", "+get", "+eval", "+exists", "+pexpire", "+del"];
    server.tell(redis::cmd("ACL").arg("SETUSER").arg("once").arg(&rules[..]));
    let config = RedisConfig { user: Some("once".to_owned()), password: Some("pw".to_owned()), ..single(server.port) };
    let store = start(&config);
    let history = store.history().await.expect("a history");
    assert_eq!((history.sentinel.len(), history.replication.as_str()), (32, ""));
    assert_eq!(store.batch(vec![]).await.map(|batch| batch.sentinel), Ok(Some(history.sentinel)));
    let facts = store.facts().await.expect("what may be seen").remove(0);
    assert_eq!((facts.version, facts.eviction_policy, facts.aof, facts.rdb), (None, None, None, None));
    server.tell(redis::cmd("ACL").arg("SETUSER").arg("once").arg("-set"));
    let why = store.batch(vec![claim(0)]).await.expect_err("no permission");
    assert!(matches!(&why, StoreError::Refused(why) if why.contains("NOPERM")), "{why}");
}

#[tokio::test]
async fn a_server_without_a_command_that_we_need_is_refused() {
    let server = Server::start(&["--rename-command", "EVAL", ""]);
    let store = start(&single(server.port));
    let replace = ClaimCommand::Replace { id: id(0), expected: done(1), value: done(2), keep: KEEP };
    let why = store.batch(vec![claim(0), replace]).await.expect_err("no EVAL");
    assert!(matches!(&why, StoreError::Refused(why) if why.contains("7.0")), "{why}");
    assert_eq!(store.batch(vec![claim(0)]).await.map(|batch| batch.replies), Ok(vec![was(0)]), "the connection stays");
}

#[tokio::test]
async fn tls_needs_the_right_authority() {
    let (certificates, others) = (certify(), certify());
    let server = Server::start_tls(&certificates);
    let with = |ca: &[u8], client: bool| {
        let client = |pem: &[u8]| client.then(|| pem.to_vec());
        let tls = TlsConfig { ca: Some(ca.to_vec()), cert: client(&certificates.cert), key: client(&certificates.key) };
        RedisConfig { tls: Some(tls), ..single(server.port) }
    };
    assert_eq!(until_there(&start(&with(&certificates.ca, true)), vec![claim(0)]).await.replies, [NEW]);
    let why = refusal(&with(&others.ca, true)).await;
    assert!(why.contains("TLS") && why.contains("certificate"), "{why}");
    let plain = start(&single(server.port));
    until_away(&plain, vec![claim(0)]).await;
    let broken = RedisClaims::start(&with(b"no PEM", false)).err();
    assert_eq!(broken, Some(StoreError::Refused("the TLS CA is no certificate in PEM".to_owned())));
}

// ---- away and back -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_killed_server_is_away_and_its_successor_is_found() {
    let mut server = Server::start(&[]);
    let store = start(&single(server.port));
    let before = store.history().await.expect("a history");
    server.kill();
    let why = until_away(&store, vec![claim(0)]).await;
    assert!(why.contains(&format!("127.0.0.1:{}", server.port)), "{why}");
    server.launch();
    let answer = until_there(&store, vec![claim(0)]).await;
    assert_eq!((answer.replies, answer.sentinel), (vec![NEW], None), "it came back empty, and that shows");
    let after = store.history().await.expect("a history");
    assert_ne!(after.sentinel, before.sentinel);
    assert_ne!(after.replication, before.replication);
}

#[tokio::test]
async fn a_black_holed_connection_is_left_for_a_fresh_one() {
    let server = Server::start(&[]);
    let hole = Proxy::before(server.port);
    let store = start(&single(hole.port()));
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
    hole.swallow();
    let why = store.batch(vec![claim(1)]).await.expect_err("nothing comes back");
    assert!(matches!(&why, StoreError::Away(why) if why.contains("no answer within 500 ms")), "{why}");
    let answer = until_there(&store, vec![claim(0), claim(2)]).await;
    assert_eq!(answer.replies, [was(0), NEW], "over a new connection");
}

#[tokio::test]
async fn a_demoted_primary_is_away_until_it_is_one_again() {
    let server = Server::start(&[]);
    let store = start(&single(server.port));
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
    server.tell(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1));
    let why = until_away(&store, vec![claim(1)]).await;
    assert!(why.contains("READONLY"), "{why}");
    server.tell(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    assert_eq!(until_there(&store, vec![claim(0), claim(1)]).await.replies, [was(0), NEW]);
    servers::wait_until(|| {
        let clients: String = server.ask(redis::cmd("CLIENT").arg("LIST"));
        clients.matches("name=kafka-once ").count() == 1 // the old connections are closed
    });
}

#[tokio::test]
async fn a_full_server_is_away_and_neither_new_nor_duplicate() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let store = start(&single(server.port));
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
    server.tell(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("100kb"));
    let why = store.batch(vec![ClaimCommand::Look { id: id(0) }, claim(1)]).await.expect_err("full");
    assert!(matches!(&why, StoreError::Away(why) if why.contains("OOM")), "{why}");
    server.tell(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    assert_eq!(store.batch(vec![claim(0), claim(1)]).await.map(|batch| batch.replies), Ok(vec![was(0), NEW]));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Server::start(&[]);
    server.kill();
    let store = start(&single(server.port));
    until_away(&store, vec![claim(0)]).await;
    server.launch();
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
}

#[tokio::test]
async fn the_facts_tell_version_eviction_and_persistence() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--save", "60 1"]);
    let facts = start(&single(server.port)).facts().await.expect("facts").remove(0);
    assert!(!facts.is_too_old() && facts.version.is_some());
    assert_eq!(facts.evicts(), Some(true));
    assert_eq!((facts.aof, facts.rdb.as_deref(), facts.replicas), (Some(true), Some("60 1"), Some(0)));
    assert_eq!((facts.role.as_deref(), facts.aof_fsync.as_deref()), (Some("master"), Some("everysec")));
    assert_eq!(facts.node, format!("127.0.0.1:{}", server.port));
}

// ---- sentinel and cluster ------------------------------------------------------------------------------------------

#[tokio::test]
async fn sentinel_names_the_primary_and_its_successor() {
    let primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    replica.wait_for_log("Finished with success");
    let sentinel = Server::start_sentinel(&primary, "");
    sentinel.wait_for_log("+slave");
    let nobody = servers::free_port();
    let nodes = vec![address(nobody), address(sentinel.port)];
    let topology = |master: &str| Topology::Sentinel { nodes: nodes.clone(), master: master.to_owned() };
    // On a busy machine an answer may be late, and a claim that is sent again because of that finds itself.
    let patient = RedisConfig { timeout: Duration::from_secs(10), ..config(topology("once")) };
    let store = start(&patient);
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
    let before = store.history().await.expect("a history");
    let facts = store.facts().await.expect("facts");
    assert_eq!(facts[0].node, format!("127.0.0.1:{}", primary.port));

    let mut key = Vec::new();
    Keys::new(NAMESPACE).id(id(0), &mut key);
    let sentinel_key = Keys::new(NAMESPACE).history();
    // A fail-over forgets what the replica has not got yet: that is another test's matter.
    servers::wait_until(|| replica.ask::<i64>(redis::cmd("EXISTS").arg(&key).arg(&sentinel_key)) == 2);
    // Until it has looked at the replica often enough it says NOGOODSLAVE.
    servers::wait_until(|| sentinel.try_ask::<String>(redis::cmd("SENTINEL").arg("FAILOVER").arg("once")).is_ok());
    primary.wait_for_log("Connecting to MASTER"); // until then the old primary still takes writes
    assert_eq!(
        until_there(&store, vec![ClaimCommand::Mark { id: id(0), value: done(0), keep: KEEP }]).await.replies,
        [was(0)]
    );
    let facts = store.facts().await.expect("facts");
    assert_eq!(facts[0].node, format!("127.0.0.1:{}", replica.port));
    let after = store.history().await.expect("a history");
    assert_eq!(after.sentinel, before.sentinel, "nothing is forgotten");
    assert_ne!(after.replication, before.replication, "but the last moments might be");

    let unknown = RedisConfig {
        topology: Topology::Sentinel { nodes: nodes[1..].to_vec(), master: "typo".to_owned() },
        ..config(topology(""))
    };
    assert!(refusal(&unknown).await.contains("knows no primary called typo"));
}

#[tokio::test]
async fn a_sentinel_that_wants_a_password_gets_the_one_of_its_servers() {
    let primary = Server::start(&["--requirepass", "pw"]);
    let sentinel = Server::start_sentinel(&primary, "sentinel auth-pass once pw\nrequirepass pw");
    let topology = Topology::Sentinel { nodes: vec![address(sentinel.port)], master: "once".to_owned() };
    let store = start(&RedisConfig { password: Some("pw".to_owned()), db: 3, ..config(topology) });
    assert_eq!(until_there(&store, vec![claim(0)]).await.replies, [NEW]);
}

#[tokio::test]
async fn a_cluster_spreads_the_keys_and_answers_in_order() {
    let nodes = cluster(3);
    let store = start(&config(Topology::Cluster { nodes: vec![address(nodes[1].port)] }));
    let claims = || (0..300).map(claim).collect::<Vec<_>>();
    assert_eq!(until_there(&store, claims()).await.replies, vec![NEW; 300]);
    assert_eq!(until_there(&store, claims()).await.replies, (0..300).map(was).collect::<Vec<_>>());
    for node in &nodes {
        let keys: i64 = node.ask(&redis::cmd("DBSIZE"));
        assert!(keys > 60, "{keys} keys on one of three nodes");
    }
    let session = SessionId([5; 16]);
    assert_eq!(store.open_session(session, KEEP).await, Ok(()));
    assert_eq!(store.renew_session(session, KEEP).await, Ok(true));
    let alive = store.batch(vec![claim(0), ClaimCommand::IsAlive { session }]).await.expect("answers");
    assert_eq!(alive.replies, [was(0), ClaimReply::Alive(true)]);
    assert_eq!(alive.sentinel, None, "nobody has made the sentinels");

    let history = store.history().await.expect("a history");
    assert_eq!((history.sentinel.len(), history.replication.len()), (32, 32));
    let other = start(&config(Topology::Cluster { nodes: vec![address(nodes[2].port)] }));
    assert_eq!(other.history().await, Ok(history.clone()), "another client, another first node");
    assert_eq!(other.batch(vec![]).await.map(|batch| batch.sentinel), Ok(Some(history.sentinel.clone())));
    nodes[0].tell(&redis::cmd("FLUSHALL"));
    assert_eq!(other.batch(vec![]).await.map(|batch| batch.sentinel), Ok(None), "one node's memory is gone");
    assert_ne!(other.history().await.map(|history| history.sentinel), Ok(history.sentinel));
    assert_eq!(store.facts().await.map(|facts| facts.len()), Ok(3));
}

#[tokio::test]
async fn keys_of_a_slot_that_moves_are_followed() {
    let nodes = cluster(3);
    let store = start(&config(Topology::Cluster { nodes: vec![address(nodes[0].port)] }));
    let claims = || (0..50).map(claim).collect::<Vec<_>>();
    let mut key = Vec::new();
    Keys::new(NAMESPACE).id(id(0), &mut key);
    let slot: u16 = nodes[0].ask(redis::cmd("CLUSTER").arg("KEYSLOT").arg(&key));
    let names: Vec<String> = nodes.iter().map(|node| node.ask(redis::cmd("CLUSTER").arg("MYID"))).collect();
    let owner = usize::from(slot / 5462).min(2);
    let target = (owner + 1) % 3;
    until_there(&store, vec![]).await; // connected, and knows the old layout
    let set_slot = |node: usize, how: &str, whom: usize| {
        nodes[node].tell(redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).arg(&names[whom]));
    };
    set_slot(target, "IMPORTING", owner);
    set_slot(owner, "MIGRATING", target);
    assert_eq!(store.batch(claims()).await.map(|batch| batch.replies), Ok(vec![NEW; 50]), "ASK is followed");
    let moved: i64 = nodes[target].ask(redis::cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot));
    assert_eq!(moved, 1, "the key stands where its slot goes");
    for node in [target, owner] {
        set_slot(node, "NODE", target);
    }
    let expected: Vec<_> = (0..50).map(was).collect();
    assert_eq!(store.batch(claims()).await.map(|batch| batch.replies), Ok(expected), "MOVED is followed");
}
