//! The two ways to send a message: through the runtime that hosts the sender, or from this process.

use std::io::IsTerminal;

use agentry_chain::SubmitError;
use agentry_core::OutboxId;
use agentry_protocol::{
    Address, BlockHeight, DecryptionKey, EncryptionKey, Json, MessageId, Number, Payload,
    PublicKey, SignedTransaction, SigningKey, Transaction,
};
use agentry_sdk::{Outgoing, Sealing};
use agentry_store::{open_for_reading, read};

use super::super::super::{ExitCode, Failure};
use super::super::client;
use super::MessageArgs;
use super::report::{Carrier, Facts};
use super::watch::{ChainWatch, StoreWatch, Watch};
use crate::config::{Config, NoncePolicy};
use crate::demo::evidence::Follow;
use crate::ops::OperationError;
use crate::ops::send::{Ack, SendRequest};
use crate::ops::who::Own;
use crate::runtime::clock::Clock;
use crate::runtime::compose::{self, Author, Circumstances, ComposeError};
use crate::runtime::control::{Client, ControlError};
use crate::wallet::PasswordSource;

/// A message that was sent or queued.
#[derive(Debug)]
pub(super) struct Sent {
    /// Its row in the outbox, if a runtime sends it.
    pub(super) outbox: Option<OutboxId>,
    /// The id in its header.
    pub(super) id: Option<String>,
    /// Finds out what happens to it.
    pub(super) watch: Watch,
}

/// The payload: a text or a command.
pub(super) fn payload(args: &MessageArgs) -> Json {
    Json::string(args.text.clone())
}

/// Lets a running runtime send it, if one hosts the wallet: that runtime manages the wallet's
/// nonces.
pub(super) async fn through_runtime(
    args: &MessageArgs,
    from: &Address,
    to: &Address,
    config: &Config,
) -> Result<Option<Sent>, Failure> {
    let mut key = [0_u8; 16];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::internal(format!("generating a request key: {error}")))?;
    let message = SendRequest {
        amount: args.amount,
        thread: args.thread.clone(),
        expires_in: args.expires,
        ack: args.ack.map(|asked| Ack {
            request: asked.into(),
            within: args.within,
            resends: args.resends,
        }),
        seal: args.seal,
        recipient_key: args.recipient_key,
        ..SendRequest::new(to.clone(), payload(args), hex::encode(key))
    };
    let client = Client::new(&config.store.path);
    let (row, id) = match client.send(from.as_str(), message).await {
        Ok(sent) => (sent.outbox, sent.id),
        // No runtime hosts the wallet: this process sends the message.
        Err(
            ControlError::NotRunning { .. } | ControlError::Refused(OperationError::NotHosted(_)),
        ) => return Ok(None),
        Err(ControlError::Refused(OperationError::NoRecipientKey(reason))) => {
            return Err(no_recipient_key(&reason));
        }
        Err(error) => return Err(error.into()),
    };
    let watch = StoreWatch::new(&config.store.path, row, id.is_none())?;
    Ok(Some(Sent {
        outbox: Some(row),
        id: id.map(|id| id.to_string()),
        watch: Watch::Store(Box::new(watch)),
    }))
}

/// Signs and posts it from this process.
pub(super) async fn directly(
    args: &MessageArgs,
    from: Own,
    to: &Address,
    config: &Config,
) -> Result<Sent, Failure> {
    if args.ack.is_some() {
        return Err(Failure::new(
            ExitCode::Unavailable,
            format!(
                "--ack needs a running runtime that hosts wallet {}: it waits for the \
                 acknowledgment and sends the message again. Start `agentry run`, or omit --ack",
                args.wallet
            ),
        ));
    }
    let reader = client(&config.chain.rpc)?;
    let head = reader.head().await?;
    let height = head.map_or(BlockHeight(0), |head| head.height);
    let own = from.wallet.ok_or_else(|| {
        Failure::no_input(format!(
            "the key of {} is not here: no keystore file or vault of {} has it, and no running \
             runtime hosts it",
            args.wallet, config.file
        ))
    })?;
    let password = PasswordSource {
        flag: args.password_file.clone(),
        configured: own.password_file,
        keystore_dir: own.keystore_dir,
        prompt: std::io::stdin().is_terminal(),
    }
    .password(&format!("wallet {}", own.wallet.info().name))?;
    let unlocked = own.wallet.unlock(&password)?;
    let key = SigningKey::from_seed(&unlocked.seed);
    let now_ms = Clock::default().now_ms();
    let known = known_keys(to, now_ms, config)?;
    let outgoing = Outgoing {
        amount: args.amount,
        thread: args.thread.clone(),
        expires_in: args.expires,
        sealing: if args.seal {
            Sealing::Always
        } else {
            Sealing::Never
        },
        ..Outgoing::new(Payload::read(&payload(args)))
    };
    let draft = compose::compose(
        &outgoing,
        Author {
            address: &unlocked.address,
            public_key: key.public_key(),
            fee: config.defaults.fee,
            behaviour: None,
        },
        Circumstances {
            origin: "",
            to,
            answers: None,
            recipient_key: args.recipient_key.or(known.encryption),
            chain_id: &config.chain.id,
            now_ms,
            plain: true,
        },
    )
    .map_err(|error| not_composed(&error))?;
    let submit = client(&config.chain.submit)?;
    let nonce = match config.chain.nonce {
        NoncePolicy::Timestamp => now_ms,
        NoncePolicy::Sequential => submit.account(&unlocked.address).await?.nonce,
    };
    let signed: SignedTransaction = Transaction {
        from: unlocked.address.clone(),
        to: to.clone(),
        amount: Number::from(draft.amount),
        fee: Number::from(draft.fee),
        nonce: Number::from(nonce),
        payload: draft.payload,
        chain_id: config.chain.id.clone(),
    }
    .sign(&key);
    let hash = signed.hash();
    match submit.submit(&signed.body()).await {
        Ok(_) => {}
        Err(error @ SubmitError::Unknown { .. }) => {
            return Err(Failure::new(
                ExitCode::Temporary,
                format!("{error}; the transaction is {hash}: look it up before you send again"),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let carrier = Carrier {
        hash: Some(hash),
        accepted: true,
        ..Carrier::default()
    };
    Ok(Sent {
        outbox: None,
        id: draft.message_id.as_ref().map(MessageId::to_string),
        watch: Watch::Chain(Box::new(ChainWatch {
            follow: Follow::new(reader, height),
            was_told: false,
            chain: config.chain.id.clone(),
            hash,
            plain: draft.message_id.is_none(),
            from: unlocked.address.clone(),
            to: to.clone(),
            key: known.public,
            decryption: DecryptionKey::from_seed(&unlocked.seed),
            facts: Facts {
                from: Some(unlocked.address),
                carriers: vec![carrier],
                ..Facts::default()
            },
        })),
    })
}

fn not_composed(error: &ComposeError) -> Failure {
    let reason = error.to_string();
    match error {
        ComposeError::NoRecipientKey { .. } => no_recipient_key(&reason),
        _ if error.is_transient() => Failure::new(ExitCode::Temporary, reason),
        _ => Failure::data(reason),
    }
}

fn no_recipient_key(reason: &str) -> Failure {
    Failure::new(
        ExitCode::Temporary,
        format!("{reason}; --recipient-key gives it here"),
    )
}

/// What is known of an address: from the contacts, else from its card in the store, if there is a
/// store.
#[derive(Default)]
struct KnownKeys {
    public: Option<PublicKey>,
    encryption: Option<EncryptionKey>,
}

fn known_keys(to: &Address, now_ms: u64, config: &Config) -> Result<KnownKeys, Failure> {
    let mut known = KnownKeys::default();
    if config.store.path.exists() {
        let db = open_for_reading(&config.store.path)?;
        if let Some(found) = read::card(&db, to)? {
            known.public = Some(found.card.public_key);
            let counts = found.card.card.check_time(now_ms).is_ok();
            known.encryption = found.card.card.enc_key.filter(|_| counts);
        }
    }
    let is_contact = |contact: &&crate::config::Contact| {
        contact.address == *to || contact.public_key.is_some_and(|key| to.matches(&key))
    };
    if let Some(contact) = config.contacts.iter().find(is_contact) {
        known.public = contact.public_key.or(known.public);
        known.encryption = contact.enc_key.or(known.encryption);
    }
    Ok(known)
}
