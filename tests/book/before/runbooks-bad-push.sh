# The push that was bad is the last configuration, and no number that one would guess: the lever before has lines of the trail, too.
cellgate hold account 12345 writes --reason "a line of the trail" --for 1m
cellgate release hold account 12345 writes
sed -i 's|^guide: .*|guide: https://docs.example.com/wrong|' config/cellgate.yaml
for _ in $(seq 100); do
    [ "$(cellgate history | wc -l)" -ge 3 ] && exit 0
    sleep 0.1
done
cellgate history
exit 1
