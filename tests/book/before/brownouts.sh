# What the page configures, beside what served before it.
cp -r config now
cat >> config/cellgate.yaml <<'YAML'

brownouts:
  - id: bo-2026-11-24
    mode: soft
    share: 10%
    windows:
      - { start: "2026-11-24T09:00", zone: America/New_York, lasts: 1h }
YAML
curl -sf --unix-socket state/admin.sock -X POST http://admin/reload
