# Two people's keys, and a change that a guard objects to: a host that served is gone.
mkdir -m 0700 .ssh
ssh-keygen -q -t ed25519 -N '' -C alice@example.com -f .ssh/id_ed25519
ssh-keygen -q -t ed25519 -N '' -C bob@example.com -f .ssh/id_ed25519_sk
cp -r config next
mkdir next/approvals
sed -i '/pattern: "{prefix}.metadata.cloud.getdbt.com"/,+3d' next/cellgate.yaml
