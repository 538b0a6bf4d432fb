"""Python's requests-oauthlib, unchanged: the passport grant as one more grant of its library."""

import json
import os

from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the loopback
base, id_, secret = (os.environ[name] for name in ("BASE", "CLIENT_ID", "CLIENT_SECRET"))
basic = HTTPBasicAuth(id_, secret)


class Passport(BackendApplicationClient):
    grant_type = "passport"


def active(token):
    return session.post(f"{base}/introspect", auth=basic, data={"token": token}, withhold_token=True).json()["active"]


session = OAuth2Session(client=Passport(id_, scope="client_registration"), scope="client_registration")
passport = {name: os.environ[name.upper()] for name in ("certificate", "algorithm", "signature")}
first = dict(session.fetch_token(base, client_secret=secret, **passport))  # Basic, as it does by itself
following = dict(session.refresh_token(base, client_id=id_, client_secret=secret))  # in the body

before = active(following["access_token"])
url, headers, body = session._client.prepare_token_revocation_request(
    f"{base}/revoke", following["refresh_token"], "refresh_token"
)
revoked = session.post(url, headers=headers, data=body, auth=basic, withhold_token=True)
refused = session.post(
    base,
    auth=basic,
    data={"grant_type": "refresh_token", "refresh_token": following["refresh_token"]},
    withhold_token=True,
)
denied = session.post(base, auth=HTTPBasicAuth(id_, "wrong"), data={"grant_type": "passport"}, withhold_token=True)
print(
    json.dumps(
        {
            "first": [first["access_token"], first["refresh_token"], first["expires_in"], " ".join(first["scope"])],
            "next": [following["access_token"], following["refresh_token"]],
            "before": before,
            "revoked": revoked.json()["result"],
            "after": active(following["access_token"]),
            "refused": [refused.status_code, refused.headers["x-ca-err"], refused.json()["error"]],
            "denied": [denied.status_code, denied.headers["x-ca-err"], denied.json()["error"]],
        }
    )
)
