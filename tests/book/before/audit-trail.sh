# A second generation, and a copy of some files of the trail.
echo '2001,new,cell-1,,' >> config/accounts.csv
for _ in $(seq 100); do
    cellgate history | grep -q '^ *2 ' && break
    sleep 0.1
done
mkdir copy
head -n 2 state/audit.jsonl > copy/audit-000007.jsonl
tail -n +3 state/audit.jsonl > copy/audit.jsonl
