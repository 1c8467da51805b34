-- Requests are accepted into the in-streams of their shards, each once: a retransmission, or a balancer's retry, changes
-- nothing. One call for several shards costs less than one for each.
--
-- KEYS:
--   recent    imc:{S}:seen:recent  set
--   older     imc:{S}:seen:older   set
--   clock     imc:{S}:seen:clock   hash
--   requests  imc:{S}:in           stream
--   ...       these four of each further shard
--
-- ARGV:
--   seen_ms         how long a retransmission is recognised, at least
--   max_backlog     maximum length of a stream, 0 for no limit
--   members_prefix  imc_members:{S}: to count the recipients of messages, or empty
--   ...             for each request: its digest, how many fields and values it has, and these, the first of them
--                   type, from, room; of a message with nothing but from, room and data, 0 and these three values;
--                   for each further shard an empty text, its members_prefix, and its requests
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream; for a message with members_prefix,
--               the number of recipients instead
--   duplicate   likewise: it was accepted before
--   overloaded  likewise: the stream is full, the request is not kept
local recent, older, clock, requests = unpack(KEYS)
local further = { unpack(KEYS, 5) }
local seen_ms, max_backlog, members_prefix = unpack(ARGV)
local parts, at = ARGV, 4
max_backlog = tonumber(max_backlog)
local call = redis.call -- looked up once: every request passes here

-- Of each request the digest, how many fields and values it has, and where in parts they begin. Of each shard its keys,
-- its members_prefix, and which requests are its own.
local digests, first, sizes, count, total = {}, {}, {}, 0, #parts
local shard = { recent = recent, older = older, clock = clock, requests = requests, prefix = members_prefix, from = 1 }
local shards = { shard }
while at < total do
    if parts[at] == "" then
        shard.to = count
        local key = 4 * #shards - 3
        shard = { recent = further[key], older = further[key + 1], clock = further[key + 2], requests = further[key + 3] }
        shard.prefix, shard.from = parts[at + 1], count + 1
        shards[#shards + 1] = shard
        at = at + 2
    else
        local size = tonumber(parts[at + 1])
        assert(size >= 0 and size % 2 == 0, "fields and values")
        count = count + 1
        digests[count], first[count], sizes[count] = parts[at], at + 2, size
        at = at + 2 + (size == 0 and 3 or size)
    end
end
shard.to = count
assert(at == total + 1, "for each request a digest, a number, and as many fields and values")
assert(#further == 4 * #shards - 4, "four keys for each shard")
--- @include "duplicates"
--- @include "may_speak"

-- The result for an accepted request of a shard. With members_prefix, that of a message is the number of its recipients,
-- which its sender is charged; 0 if the sender may not speak. Invited users count until they accept or decline. A room
-- with a key of a wrong type counts 0: its worker reports the error.
local function result_of(i, prefix)
    local request, is_short = first[i], sizes[i] == 0
    if prefix == "" or not (is_short or parts[request + 1] == "message") then
        return "accepted"
    end
    local from, room = parts[request + 3], parts[request + 5]
    if is_short then
        from, room = parts[request], parts[request + 1]
    end
    local members = prefix .. room
    local role = redis.pcall("HGET", members, from)
    return type(role) == "string" and may_speak(role) and call("HLEN", members) - 1 or 0
end

-- Decides about the i-th request, which is one of this shard; writes nothing.
local function judge(shard, i)
    local digest, new, duplicates = digests[i], shard.new, shard.duplicates
    if is_duplicate(shard, i) then
        duplicates[#duplicates + 1] = digest
        return "duplicate"
    elseif shard.place[digest] then
        return "duplicate"
    elseif max_backlog > 0 and shard.backlog + #new >= max_backlog then
        return "overloaded"
    end
    new[#new + 1], shard.place[digest] = digest, i
    return result_of(i, shard.prefix)
end

local function append(requests, i)
    local request, size = first[i], sizes[i]
    if size == 0 then
        local from, room, data = parts[request], parts[request + 1], parts[request + 2]
        call("XADD", requests, "*", "type", "message", "from", from, "room", room, "data", data)
    else
        call("XADD", requests, "*", unpack(parts, request, request + size - 1))
    end
end

-- All are looked at before anything is written, and duplicates are renewed last: when memory is full, Redis refuses the
-- script's first write only.
local results = {}
for _, each in ipairs(shards) do
    look_up(each)
    each.backlog, each.new, each.place, each.duplicates = call("XLEN", each.requests), {}, {}, {}
    for i = each.from, each.to do
        results[i] = judge(each, i)
    end
end
for _, each in ipairs(shards) do
    local new = each.new
    if #new > 0 then
        remember(each, new)
        for n = 1, #new do
            append(each.requests, each.place[new[n]])
        end
    end
end
for _, each in ipairs(shards) do
    if #each.duplicates > 0 then
        renew(each, each.duplicates)
    end
end
return results
