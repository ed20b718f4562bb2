//! Clients and how they authenticate (RFC 6749, sections 2.2 and 2.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::host::http::Request;
use crate::secret::ClientSecret;

/// A registered client (RFC 6749, section 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client identifier.
    pub id: String,
    /// How the client authenticates at the token endpoint.
    pub authentication: ClientAuthentication,
}

/// A client's authentication method (RFC 7591, section 2, `token_endpoint_auth_method`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `none`: a public client, which only names itself.
    None,
    /// `client_secret_basic`: the secret in an `Authorization` header.
    SecretBasic(ClientSecret),
    /// `client_secret_post`: the secret in the form.
    SecretPost(ClientSecret),
}

impl Client {
    /// Returns a client without a secret.
    pub fn public(id: impl Into<String>) -> Self {
        Self { id: id.into(), authentication: ClientAuthentication::None }
    }

    /// Returns a client with a secret, sent as the server supports it.
    ///
    /// `methods` is the metadata's `token_endpoint_auth_methods_supported`, whose absence means
    /// `client_secret_basic` (RFC 8414, section 2).
    pub fn with_secret(id: impl Into<String>, secret: ClientSecret, methods: Option<&[String]>) -> Self {
        let lists = |name| methods.is_some_and(|methods| methods.iter().any(|m| m == name));
        let authentication = if lists("client_secret_post") && !lists("client_secret_basic") {
            ClientAuthentication::SecretPost(secret)
        } else {
            ClientAuthentication::SecretBasic(secret)
        };
        Self { id: id.into(), authentication }
    }

    /// Returns the secret, however it is sent.
    pub fn secret(&self) -> Option<&ClientSecret> {
        match &self.authentication {
            ClientAuthentication::None => None,
            ClientAuthentication::SecretBasic(secret) | ClientAuthentication::SecretPost(secret) => {
                Some(secret)
            }
        }
    }

    /// Adds the client's authentication to a form (RFC 6749, section 2.3.1).
    pub(crate) fn authenticate(&self, request: Request) -> Request {
        match &self.authentication {
            ClientAuthentication::None => request.field("client_id", &self.id),
            ClientAuthentication::SecretPost(secret) => {
                request.field("client_id", &self.id).secret_field("client_secret", secret.expose())
            }
            ClientAuthentication::SecretBasic(secret) => {
                // Encoded before they are joined: an id or a secret may hold a colon.
                let pair = Zeroizing::new(format!(
                    "{}:{}",
                    form_urlencoded::byte_serialize(self.id.as_bytes()).collect::<String>(),
                    *form_encode(secret)
                ));
                request.authorization(&Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))))
            }
        }
    }
}

fn form_encode(secret: &ClientSecret) -> Zeroizing<String> {
    Zeroizing::new(form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use http::header;
    use url::Url;

    use super::*;

    fn authenticated(client: &Client) -> Request {
        client.authenticate(Request::post(Url::parse("https://server.example.com/token").unwrap()))
    }

    fn header_of(request: &Request) -> Option<&str> {
        request.headers.get(header::AUTHORIZATION)?.to_str().ok()
    }

    #[test]
    fn rfc6749_2_3_1_basic() {
        let secret = ClientSecret::new("7Fjfp0ZBr1KtDRbnfVdmIw");
        let request = authenticated(&Client::with_secret("s6BhdRkqt3", secret, None));
        assert_eq!(header_of(&request), Some("Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"));
        assert!(request.form.is_empty());
        assert!(!format!("{request:?}").contains("czZ"));
    }

    #[test]
    fn basic_encodes_id_and_secret_before_joining_them() {
        let client = Client::with_secret("a:b c", ClientSecret::new("p:q%+ä"), None);
        let request = authenticated(&client);
        let encoded = header_of(&request).unwrap().strip_prefix("Basic ").unwrap().to_owned();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"a%3Ab+c:p%3Aq%25%2B%C3%A4");
    }

    #[test]
    fn rfc6749_2_3_1_post() {
        let methods = ["client_secret_post".to_owned(), "private_key_jwt".to_owned()];
        let secret = ClientSecret::new("7Fjfp0ZBr1KtDRbnfVdmIw");
        let request = authenticated(&Client::with_secret("s6BhdRkqt3", secret, Some(&methods)));
        assert_eq!(request.body().as_slice(), b"client_id=s6BhdRkqt3&client_secret=7Fjfp0ZBr1KtDRbnfVdmIw");
        assert_eq!(header_of(&request), None);
        assert!(!format!("{request:?}").contains("7Fjfp0ZBr1KtDRbnfVdmIw"));
    }

    #[test]
    fn basic_is_preferred_and_the_default() {
        for methods in [
            None,
            Some(vec![]),
            Some(vec!["private_key_jwt".to_owned()]),
            Some(vec!["client_secret_post".to_owned(), "client_secret_basic".to_owned()]),
        ] {
            let client = Client::with_secret("c", ClientSecret::new("s"), methods.as_deref());
            assert!(matches!(client.authentication, ClientAuthentication::SecretBasic(_)), "{methods:?}");
        }
    }

    #[test]
    fn a_public_client_names_itself() {
        let request = authenticated(&Client::public("s6BhdRkqt3"));
        assert_eq!(request.body().as_slice(), b"client_id=s6BhdRkqt3");
        assert_eq!(header_of(&request), None);
    }
}
