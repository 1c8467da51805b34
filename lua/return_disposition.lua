-- A disposition notification (RFC 5438), a receipt to its users, goes to the author of the message that it is about, and
-- to nobody else. It is never kept and never refused: if the author is not known, not here or no longer a member, it is
-- discarded.
--
-- KEYS:
--   requests        imc:{S}:in                   stream
--   events          imc:{S}:out                  stream
--   rooms           imc_rooms:{S}                sorted set
--   room            imc_rooms:{S}:ROOM           hash
--   members         imc_members:{S}:ROOM         hash
--   recent_authors  imc:{S}:authors:ROOM:recent  hash
--   older_authors   imc:{S}:authors:ROOM:older   hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   disposition  to each author; list: the ids of the author's messages, each as the notification names it and as
--                the author does
local requests, events, rooms, room, members, recent_authors, older_authors = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "may_speak"
--- @include "authors"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room) -- is a hash
redis.call("HLEN", recent_authors)
redis.call("HLEN", older_authors)
local authors, ids = {}, {}
if is_member(redis.call("HGET", members, request.from)) then
    for message_id in (request.message_id or ""):gmatch("(%S+) %S+") do
        local author = author_of(recent_authors, older_authors, message_id)
        if author and author ~= request.from and HERE[redis.call("HGET", members, author)] then
            if not ids[author] then
                authors[#authors + 1], ids[author] = author, {}
            end
            table.insert(ids[author], message_id .. " " .. message_id)
        end
    end
end
commit()
for _, author in ipairs(authors) do
    emit("disposition", { author }, "list", table.concat(ids[author], " "))
end
return "done"
