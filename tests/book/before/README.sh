# Certificates that are not there; and a cell that is taken away with what named it.
cp -r config wrong
sed -i 's|certs/dev|certs/gone|' wrong/cellgate.yaml
cp -r config next
sed -i '/- name: cell-3/,+5d; /cell: cell-3/d' next/cellgate.yaml
sed -i 's/,cell-3,/,cell-1,/' next/accounts.csv
# Each of the three who have called; the books may have them in two windows of ten seconds.
for _ in $(seq 300); do
    [ "$(cellgate report | grep -cwE '1001|12345|70403103966603')" -ge 3 ] && break
    sleep 0.1
done
