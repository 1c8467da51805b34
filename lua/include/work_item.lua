-- The event with which a worker asks an edge for something: one that is no MESSAGE. Needs events, entry_id. Gives item (the
-- event's fields by name).
local entry = redis.call("XRANGE", events, entry_id, entry_id)[1]
if not entry then
    return "gone"
end
local item = {}
for i = 1, #entry[2], 2 do
    item[entry[2][i]] = entry[2][i + 1]
end
