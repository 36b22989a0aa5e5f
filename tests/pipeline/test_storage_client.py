from __future__ import annotations

import pytest
from unlabeled.pipeline.errors import ConfigError, PermissionDenied
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.storage_client import s3_config, s3_credential_provider, s3_endpoint, s3_region

_VARIABLES = (
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE AWS_WEB_IDENTITY_TOKEN_FILE AWS_SKIP_SIGNATURE AWS_REGION "
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_DEFAULT_REGION AWS_ENDPOINT "
    "AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_ALLOW_HTTP"
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in _VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def test_without_credentials_no_metadata_address_is_asked() -> None:
    with pytest.raises(PermissionDenied, match="set AWS_ACCESS_KEY_ID"):
        Store.open("s3://bucket", StoreOptions(endpoint_url="http://127.0.0.1:9")).get("k")


def test_a_key_pair_is_whole() -> None:
    with pytest.raises(ConfigError, match="go together"):
        Store.open("s3://bucket", StoreOptions(access_key_id="only")).get("k")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"])
def test_what_the_client_knows_itself_is_left_to_it(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "true")
    assert s3_credential_provider(StoreOptions()) is None


def test_a_profile_gives_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("aws") / "credentials"
    path.write_text("[mine]\naws_access_key_id = id1\naws_secret_access_key = secret1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    provider = s3_credential_provider(StoreOptions())
    assert provider is not None
    credential = provider()
    assert isinstance(credential, dict)
    assert (credential["access_key_id"], credential["secret_access_key"]) == ("id1", "secret1")


def test_options_stand_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://general")
    assert s3_endpoint(StoreOptions()) == "https://general"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://special")
    assert s3_endpoint(StoreOptions()) == "https://special"
    assert s3_endpoint(StoreOptions(endpoint_url="https://mine")) == "https://mine"
    assert s3_region(StoreOptions()) == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert s3_region(StoreOptions()) == "eu-west-1"
    assert s3_region(StoreOptions(region="eu-north-1")) == "eu-north-1"


def test_an_unencrypted_endpoint_is_allowed_by_word_only(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = StoreOptions(endpoint_url="http://storage.example:9000")
    with pytest.raises(ConfigError, match="AWS_ALLOW_HTTP"):
        s3_config(elsewhere)
    s3_config(StoreOptions(endpoint_url="http://127.0.0.1:9000"))
    s3_config(StoreOptions(endpoint_url="http://storage.example:9000", allow_http=True))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    s3_config(elsewhere)
