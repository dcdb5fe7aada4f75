"""What sslyze finds out about the TLS of a server, as one line of JSON. Arguments: name, port, authority (PEM).

The authority is the tests' own, and sslyze is told to trust it: whom a client trusts is not the server's grade.
"""

import json
import sys
from pathlib import Path

from sslyze import ScanCommand, Scanner, ServerNetworkLocation, ServerScanRequest
from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER as NEEDED,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)
from sslyze.plugins.certificate_info.implementation import CertificateInfoExtraArgument
from sslyze.scanner.models import ScanCommandsExtraArguments

MORE = {ScanCommand.SESSION_RESUMPTION, ScanCommand.TLS_1_3_EARLY_DATA}
PROTOCOLS = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"]


def scan(name, port, authority):
    extra = ScanCommandsExtraArguments(certificate_info=CertificateInfoExtraArgument(custom_ca_file=Path(authority)))
    location = ServerNetworkLocation(hostname=name, port=port, ip_address="127.0.0.1")
    scanner = Scanner()
    scanner.queue_scans([ServerScanRequest(location, scan_commands=NEEDED | MORE, scan_commands_extra_arguments=extra)])
    [result] = scanner.get_results()
    assert result.scan_result is not None, (result.connectivity_status, result.connectivity_error_trace)
    return result


def issues(result, profile):
    try:
        check_server_against_tls_configuration(result, MozillaTlsConfiguration.get(profile))
    except ServerNotCompliantWithTlsConfiguration as wrong:
        return wrong.issues
    return {}


def found(result):
    def of(command):
        attempt = getattr(result.scan_result, command)
        assert attempt.result is not None, (command, attempt.error_reason, str(attempt.error_trace))
        return attempt.result

    suites = {protocol: of(f"{protocol}_cipher_suites").accepted_cipher_suites for protocol in PROTOCOLS}
    return {
        "intermediate": issues(result, TlsConfigurationEnum.MOZILLA_INTERMEDIATE),
        "suites": {protocol: sorted(suite.cipher_suite.name for suite in names) for protocol, names in suites.items()},
        "compression": of("tls_compression").supports_compression,
        "early_data": of("tls_1_3_early_data").supports_early_data,
        "heartbleed": of("heartbleed").is_vulnerable_to_heartbleed,
        "robot": of("robot").robot_result.name,
        "ccs_injection": of("openssl_ccs_injection").is_vulnerable_to_ccs_injection,
        "fallback_scsv": of("tls_fallback_scsv").supports_fallback_scsv,
        "client_renegotiation": of("session_renegotiation").is_vulnerable_to_client_renegotiation_dos,
        "extended_master_secret": of("tls_extended_master_secret").supports_ems_extension,
        # Not those by tickets: of a resumed session sslyze wants the same ticket, and a server may give a new one.
        "resumption_by_id": of("session_resumption").session_id_resumption_result.name,
    }


if __name__ == "__main__":
    print(json.dumps(found(scan(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
