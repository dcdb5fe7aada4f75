# Three cells with three zones of 200 requests a second each, and three replicas.
mkdir three
printf 'version: 1\nstate_dir: ../three-state\nlisteners: [{ name: http, address: "127.0.0.1:0", protocol: http }]\n' > three/boot.yaml
printf 'account,prefixes,cell,redirect_browsers,schedule\n1,ab123,us1,false,\n' > three/accounts.csv
cat > three/cellgate.yaml <<'YAML'
version: 1
guide: https://docs.example.com/
surfaces: [{ name: app, errors: status }]
accounts: { file: accounts.csv }
protection: { replicas: 3 }
hosts: [{ pattern: "{prefix}.us1.dbt.com", role: cell, surface: app }]
identify: { query_keys: [account_id] }
cells:
YAML
for cell in us1 us2 us3; do
    printf '  - name: %s\n    domain: us1.dbt.com\n    groups:\n' "$cell"
    for zone in a b c; do
        printf '      - { zone: %s, capacity_rps: 200, endpoints: ["%s-%s-1.local:80", "%s-%s-2.local:80"] }\n' \
            "$zone" "$cell" "$zone" "$cell" "$zone"
    done
done >> three/cellgate.yaml
