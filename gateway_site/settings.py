"""Every setting of the project. Values come from the environment through `env`, nowhere else."""

from __future__ import annotations

from authgate.wire.authority import parse_origin
from gateway_site import database, env, env_file, invocation, places, served

BASE_DIR = places.ROOT

# --- what an operator sets (docs/settings.md) ---------------------------------------------------------------
AUTHGATE_ENV_FILE = env_file.named("AUTHGATE_ENV_FILE")
AUTHGATE_DATA_DIR = env.place_of_directory("AUTHGATE_DATA_DIR", str(places.data_dir()))
AUTHGATE_ENV_FILE = AUTHGATE_ENV_FILE or env_file.kept(AUTHGATE_DATA_DIR)
AUTHGATE_PUBLIC_URL = served.public_url("AUTHGATE_PUBLIC_URL", served.DEFAULT_URL, AUTHGATE_DATA_DIR)
AUTHGATE_AUTH_PREFIX = env.path_prefix("AUTHGATE_AUTH_PREFIX", "/auth")
AUTHGATE_ALLOWED_HOSTS = env.words("AUTHGATE_ALLOWED_HOSTS")
AUTHGATE_TRUSTED_PROXIES = env.networks("AUTHGATE_TRUSTED_PROXIES")
AUTHGATE_FORWARDED_HEADERS = env.forwarded_headers("AUTHGATE_FORWARDED_HEADERS")
AUTHGATE_STATIC_SITE = env.optional_directory("AUTHGATE_STATIC_SITE")
AUTHGATE_REDIS_URL = env.redis_url("AUTHGATE_REDIS_URL")
AUTHGATE_SIGNING_KEY_FILE = env.list_of_files("AUTHGATE_SIGNING_KEY_FILE")
AUTHGATE_ACCESS_LOG = env.choice("AUTHGATE_ACCESS_LOG", "json", ("json", "off"))
AUTHGATE_LOG_FORMAT = env.choice("AUTHGATE_LOG_FORMAT", "text", ("text", "json"))
AUTHGATE_LOG_LEVEL = env.choice("AUTHGATE_LOG_LEVEL", "info", ("debug", "info", "warning", "error"))
AUTHGATE_OTLP_ENDPOINT = env.http_url("AUTHGATE_OTLP_ENDPOINT")
AUTHGATE_TRACE_RATIO = env.ratio("AUTHGATE_TRACE_RATIO", "1")
AUTHGATE_METRICS_NETWORKS = env.networks("AUTHGATE_METRICS_NETWORKS", default="127.0.0.0/8 ::1")
AUTHGATE_METRICS_ROLES = env.words("AUTHGATE_METRICS_ROLES")
AUTHGATE_DRAIN_SECONDS = env.seconds("AUTHGATE_DRAIN_SECONDS", 30)
AUTHGATE_COLD_START_SECONDS = env.seconds("AUTHGATE_COLD_START_SECONDS", 900, least=0)
AUTHGATE_ADMIN_LOCAL_SIGN_IN = env.open_to("AUTHGATE_ADMIN_LOCAL_SIGN_IN", "on")
AUTHGATE_SIGN_IN_RATE = env.per_second("AUTHGATE_SIGN_IN_RATE", "5/s")
AUTHGATE_PERSONAL_TOKEN_DAYS = env.days("AUTHGATE_PERSONAL_TOKEN_DAYS", 90, 366)
DATABASES = {"default": database.from_url("AUTHGATE_DATABASE_URL", AUTHGATE_DATA_DIR / "authgate.sqlite3")}
if invocation.makes_a_gateway():
    env.make_directory("AUTHGATE_DATA_DIR", AUTHGATE_DATA_DIR)
SECRET_KEY = env.secret_key(
    "AUTHGATE_SECRET_KEY",
    AUTHGATE_DATA_DIR,
    sealed_in=database.file_of(DATABASES["default"]),
    make=invocation.makes_a_gateway(),
)
SECRET_KEY_FALLBACKS = env.fallback_secret("AUTHGATE_SECRET_KEY_FALLBACK")
AUTHGATE_SECRET_KEY_SOURCE = env.source_of_secret("AUTHGATE_SECRET_KEY", AUTHGATE_DATA_DIR)
if database.is_there(DATABASES["default"]):  # elsewhere, if the directory is new, and so is the key: no second gateway
    env.make_directory("AUTHGATE_DATA_DIR", AUTHGATE_DATA_DIR)
AUTHGATE_SECRET_FILES = env.files(
    "AUTHGATE_SECRET_KEY", "AUTHGATE_SECRET_KEY_FALLBACK", "AUTHGATE_DATABASE_URL", "AUTHGATE_REDIS_URL"
)
env.refuse_unknown("AUTHGATE_")

# --- what follows from it -----------------------------------------------------------------------------------
SECURE = parse_origin(AUTHGATE_PUBLIC_URL).scheme == "https"
# __Host- binds the cookie to this exact host: a sibling subdomain cannot plant one (RFC 6265bis 4.1.3.2).
AUTHGATE_SESSION_COOKIE = "__Host-auth_token" if SECURE else "auth_token"

DEBUG = False
# The front door has already refused every Host that is not ours (proxy/pipeline/asgi.py), by the same table that
# routes requests; a second, static list here could only disagree with it.
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "gateway_site.urls"
ASGI_APPLICATION = "gateway_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False

INSTALLED_APPS = [
    "gateway_site",
    "authgate.apps.AuthgateConfig",
    "proxy",
    "authgate.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "drf_spectacular_sidecar",  # files of the page that shows the API
]

MIDDLEWARE = [
    "authgate.pages.middleware.SecurityHeadersMiddleware",
    "authgate.pages.storable_text.StorableTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "authgate.pages.middleware.JWTAuthenticationMiddleware",
    "authgate.sessions.operators.admin_access",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

PASSWORD_HASHERS = [
    "authgate.sessions.password_hashing.QuietPasswordHasher",
    # Of accounts that come from elsewhere: their next sign-in gives them one of the above.
    "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SESSION_COOKIE_NAME = "__Host-authgate_admin" if SECURE else "authgate_admin"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
MESSAGE_STORAGE = "authgate.admin.messages.MessageStorage"
CSRF_COOKIE_NAME = "__Host-authgate_csrf" if SECURE else "authgate_csrf"
CSRF_COOKIE_SECURE = SECURE
CSRF_FAILURE_VIEW = "authgate.pages.views.csrf_failure"
CSRF_TRUSTED_ORIGINS = [AUTHGATE_PUBLIC_URL]

# What `check --deploy` would say of every gateway: its own middleware sends these headers, HSTS with https among them.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002"]
if not SECURE:  # authgate.W001 says what is wrong with that, where anything is
    SILENCED_SYSTEM_CHECKS += ["security.W012", "security.W016"]
if not invocation.asks_what_is_missing():
    # Every command before the first `serve` would repeat what that needs, and so would `serve` that has it.
    SILENCED_SYSTEM_CHECKS += ["authgate.I071"]

# The only pages that Django itself signs anybody in to; its defaults lie below /accounts/, where nothing is.
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"

# Below the one prefix that is the gateway's on every host, so that its pages are dressed on all of them.
STATIC_URL = f"{AUTHGATE_AUTH_PREFIX}/static/"

SPECTACULAR_SETTINGS = {"OAS_VERSION": "3.1.0"}  # what else the API says of itself: authgate/api/documents.py

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "authgate.observe.log_lines.Text"},
        "json": {"()": "authgate.observe.log_lines.Json"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": AUTHGATE_LOG_FORMAT}},
    "filters": {"unexpected": {"()": "authgate.pages.outages.Unexpected"}},
    "root": {"handlers": ["stderr"], "level": AUTHGATE_LOG_LEVEL.upper()},
    "loggers": {
        "django.request": {"filters": ["unexpected"]},
        # Malformed requests are no errors of ours, and the access log has them. Forms refused for their origin stay:
        # that is what a wrong AUTHGATE_PUBLIC_URL looks like.
        "django.security": {"level": "CRITICAL"},
        "django.security.csrf": {"level": AUTHGATE_LOG_LEVEL.upper()},
    },
}
