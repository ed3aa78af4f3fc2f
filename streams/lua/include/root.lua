-- Two layouts of keys, see streams/redis/keys.py: the tag of a partition says which one it is.

-- Return the namespace in the shared layout, nil in the spread one.
local function namespace_of(tag)
  return string.match(tag, '^{(.*):%d+}$')
end

-- Return what the keys begin with that are not a partition's own in the shared layout: limits, paused,
-- order and running. In the spread layout each partition has them under its tag.
local function root_of(tag)
  return namespace_of(tag) or tag
end

-- Return the hash tag of a key, braces included.
local function tag_of(key)
  return string.match(key, '^{[^}]*}') or ''
end
