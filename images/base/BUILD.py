from enginewright import debian_base

# What CPython and wheels from PyPI need, and nothing to log in to: no shell, no package manager.
debian_base(
    name="base",
    suite="bookworm",
    packages=[
        "base-files", "base-passwd", "ca-certificates", "libpython3.11-stdlib", "libstdc++6", "netbase", "python3.11-minimal", "tzdata",
    ],
    # Needed while packages are configured, which they are not here.
    omit=["awk", "debconf", "dpkg", "libdebconfclient0", "libselinux1", "openssl", "perl-base"],
    # From the release alone: archives keep its packages for as long as it lives, and an example must build for years. They drop an update
    # when the next one is there; for what you ship, take updates, and pin anew as they come. See docs/debian_base.md.
    pins="packages.pins",
    exclude=[
        "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/lintian/*", "/usr/share/locale/*", "/usr/share/man/*",
        # Of the standard library: what is for developing, and what needs a screen.
        "/usr/lib/python3.11/ensurepip/*", "/usr/lib/python3.11/idlelib/*", "/usr/lib/python3.11/lib2to3/*",
        "/usr/lib/python3.11/pydoc_data/*", "/usr/lib/python3.11/tkinter/*", "/usr/lib/python3.11/turtledemo/*",
        "/usr/lib/x86_64-linux-gnu/gconv/*", "/usr/share/zoneinfo/right/*", "/usr/share/zoneinfo/posix/*",
    ],
)  # fmt: skip
