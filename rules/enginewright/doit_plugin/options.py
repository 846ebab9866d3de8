"""The options of commands that may use what is beyond this machine. No imports: a build with nothing to do has its options too."""

CACHE_OPTIONS = (
    {
        "name": "remote_cache", "short": "", "long": "remote-cache", "type": str, "default": "",
        "help": "share results with other machines: grpc[s]://HOST:PORT[/INSTANCE], http[s]://HOST[/PATH], s3://BUCKET[/PREFIX], gs://...,"
        " az://..., file:///FOLDER [default: ENGINEWRIGHT_REMOTE_CACHE, or cache in [tool.enginewright.remote]]",
    },
    {
        "name": "remote_mode", "short": "", "long": "remote-mode", "type": str, "default": "",
        "help": "read: take results from there; write: put them there; read-write: both [default: read-write]",
    },
    {
        "name": "remote_download", "short": "", "long": "remote-download", "type": str, "default": "",
        "help": "which outputs of results found there are fetched: all; toplevel: of the targets that are asked for; minimal: none but"
        " what an action needs that runs here [default: toplevel]",
    },
    {
        "name": "remote_cache_timeout", "short": "", "long": "remote-cache-timeout", "type": str, "default": "",
        "help": "seconds that the remote cache may take for an answer; a second more for each megabyte [default: 10]",
    },
    {
        "name": "remote_token_file", "short": "", "long": "remote-token-file", "type": str, "default": "",
        "help": "the file that holds the bearer token [default: the token in ENGINEWRIGHT_REMOTE_TOKEN, if any]",
    },
    {
        "name": "remote_tls_ca", "short": "", "long": "remote-tls-ca", "type": str, "default": "",
        "help": "the authorities that may vouch for the server, PEM [default: the system's]",
    },
    {
        "name": "remote_tls_certificate", "short": "", "long": "remote-tls-certificate", "type": str, "default": "",
        "help": "the client certificate that is shown to the server, PEM",
    },
    {
        "name": "remote_tls_key", "short": "", "long": "remote-tls-key", "type": str, "default": "",
        "help": "the key of the client certificate, PEM",
    },
    {
        "name": "remote_required", "short": "", "long": "remote-required", "type": bool, "default": False,
        "help": "fail when there is trouble with the remote cache, rather than go on without it",
    },
)  # fmt: skip

EXECUTOR_OPTIONS = (
    {
        "name": "remote_executor", "short": "", "long": "remote-executor", "type": str, "default": "",
        "help": "have a Remote Execution API server run actions: grpc[s]://HOST:PORT[/INSTANCE]",
    },
    {
        "name": "remote_execution", "short": "", "long": "remote-execution", "type": str, "default": "",
        "help": "which actions run there: auto (those that this machine cannot run), always, never; also of a kind or a target, as in"
        " auto,TensorrtEngine=always,models/x:big=never [default: auto]",
    },
    {
        "name": "remote_jobs", "short": "", "long": "remote-jobs", "type": int, "default": 0,
        "help": "actions that may be under way there at a time, beside those that run here [default: 64]",
    },
    {
        "name": "remote_timeout", "short": "", "long": "remote-timeout", "type": int, "default": 0,
        "help": "seconds that an action may run there [default: the server's own limit]",
    },
    {
        "name": "remote_queue_timeout", "short": "", "long": "remote-queue-timeout", "type": int, "default": 0,
        "help": "seconds that an action may wait for a worker [default: no limit]",
    },
)  # fmt: skip
